"""The modules that an example reads: those of this Python's library, or of a folder."""

from pathlib import Path, PurePath

# Files of the standard library's test data, most of them broken on purpose.
BROKEN = ("tokenizedata/bad*.py", "lib2to3/tests/data/*.py", "test_lib2to3/data/*.py")


def find_modules(folder: Path) -> dict[str, Path]:
    """Return the .py files below a folder by their names in it, but no installed packages."""
    found = {}
    for path in sorted(folder.rglob("*.py")):
        name = path.relative_to(folder)
        hidden = any(part.startswith(".") or part.endswith("-packages") for part in name.parts)
        if not hidden and path.is_file():
            found[name.as_posix()] = path
    return found


def is_broken(name: str) -> bool:
    """Say whether a file of the standard library is broken on purpose."""
    return any(PurePath(name).match(pattern) for pattern in BROKEN)


def choose(names: list[str], limit: int) -> list[str]:
    """Choose names evenly; those of broken test data go first, for up to a fifth."""
    broken = [name for name in names if is_broken(name)][: limit // 5]
    others = [name for name in names if name not in broken]
    room = min(limit - len(broken), len(others))
    return sorted(broken + [others[number * len(others) // room] for number in range(room)])


def add_broken(modules: dict[str, Path], folder: str) -> list[str]:
    """Write three broken files, add them and return their names."""
    broken = {
        "broken/bad_encoding.py": b"name = '\xff\xfe'\n",
        "broken/bad_syntax.py": b"def broken(:\n    pass\n",
        "broken/null_bytes.py": b"x = 1\ny = \0\n",
    }
    for name, raw in broken.items():
        modules[name] = Path(folder, PurePath(name).name)
        modules[name].write_bytes(raw)
    return list(broken)
