"""Credentials: what looks like one, and how it is taken out of a text.

A table of rules, each a regular expression. Behind a name such as ``password`` everything
goes; behind a word that prose and code use too, such as ``token``, what is written as a
value or looks like a secret; the rest is known by its own looks.

Texts come from anywhere, and one made to match slowly must not hold up a run. So every
quantifier is bounded, or is followed by something that it cannot match itself, or by
something that cannot fail: the time is linear in the text.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ("MASK", "SEPARATED", "redact_secrets")

MASK: Final = "[redacted]"

Rule = tuple[re.Pattern[str], str]

# More of the name may follow, as in SECRET_KEY_2.
_STRONG: Final = (
    r"(?:(?:api|access|account|private|shared|signing|encryption|master|storage|subscription|"
    r"service|deploy|license|ssh)[ _-]?(?:access[ _-]?)?key|secret|passw(?:or)?d|passphrase|pwd|"
    r"credentials?|(?:auth|access|refresh|id|session|bearer|api|security)[_-]?token|"
    r"(?:j|php)?sess(?:ion)?id|connect\.sid|x-amz-signature|cookie)"
    # But a PasswordError is followed by what went wrong.
    r"(?![\w.]{0,40}(?:error|exception):)[\w.-]{0,40}"
    r"(?:\s(?:provided|supplied|given|received))?"
)
# Not in the plural: tokens are counted.
_WEAK: Final = r"(?:token|(?<![a-z])(?:pass|auth|jwt|otp))"
_SCHEME: Final = r"(?:(?:bearer|basic|digest|token|negotiate|ntlm|apikey|aws4-hmac-sha256)\s{1,8})"

# A quote may be escaped itself, in JSON within JSON.
_QUOTE: Final = r"""\\{0,3}["']"""
_IS: Final = rf"(?:{_QUOTE})?\s{{0,8}}(?:=>|==?|:(?!:))\s{{0,8}}"
# Headers are also told as pairs: ('Authorization', 'Bearer ...').
_HEADER_IS: Final = rf"(?:{_IS}|{_QUOTE},\s{{0,8}}(?=[bfru]{{0,2}}{_QUOTE}))"

# A quote, or a bracket, that is never closed takes the rest with it.
_QUOTED: Final = (
    rf"""(?:[bfru]{{0,2}}(?P<quote>\"\"\"|'''|{_QUOTE})"""
    r"""(?:(?!(?P=quote))(?:\\.|.))*(?:(?P=quote)|\Z))"""
)
_REST_OF_QUOTED: Final = r"""(?:"[^"]*(?:"|\Z)|'[^']*(?:'|\Z))"""
# Up to what usually follows a value; a call, as Secret('...'), with its first argument.
_BARE: Final = rf"""(?:[^\s,;&"'}}\])]+(?:(?<=\(){_REST_OF_QUOTED})?)"""
_NOT_AGAIN: Final = r"(?!\[redacted\])"
_NO_VALUE: Final = r"(?!(?:none|null|nil|undefined|str|bytes|optional)(?![\w.-]))"
# A number of at most five digits is a count, a position or a status.
_NO_SECRET: Final = (
    rf"(?!(?:{_QUOTE})?(?:\d{{1,5}}|true|false|none|null|nil|undefined)(?![\w.-]))(?![{{(])"
)
_LIKELY: Final = r"(?:(?=[a-z.+/=~%_-]{0,64}\d)[\w.+/=~%-]{8,}|[\w+/=~%-]{24,})"


def _rule(pattern: str, flags: re.RegexFlag = re.IGNORECASE | re.DOTALL) -> Rule:
    """Make a rule; the pattern's group ``keep``, where it has one, stays."""
    return re.compile(pattern, flags), rf"\g<keep>{MASK}" if "<keep>" in pattern else MASK


# A key in PEM armour, whole or cut off. First: no other rule may break the armour open.
_PEM: Final = _rule(
    r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY-----"
    r".*?(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY-----|\Z)",
    re.DOTALL,
)

_BY_NAME: Final = (
    # Headers: the scheme may stay, what follows may not, nor its further parameters.
    _rule(
        rf"(?P<keep>authorization[\w.-]{{0,40}}{_HEADER_IS}(?!{_SCHEME}?\[redacted\])"
        rf"(?:{_SCHEME}(?!\Z))?)(?:{_QUOTED}|[^\s,\"'}}\])]+{_REST_OF_QUOTED}?"
        rf"(?:,\s{{0,8}}[\w-]{{1,40}}=(?:{_REST_OF_QUOTED}|[^\s,\"'}}\])]*))*)"
    ),
    # Of cookies all to the end of the line: any pair may be the session.
    _rule(rf"(?P<keep>cookies?{_HEADER_IS})(?:{_QUOTED}|(?=[^\s;=]{{1,80}}=)[^\r\n]+)"),
    _rule(
        rf"(?P<keep>{_STRONG}{_IS}){_NOT_AGAIN}{_NO_VALUE}"
        rf"(?:{_QUOTED}|\[[^\]]*(?:\]|\Z)|(?![{{(]){_BARE})"
    ),
    # As code, an address or JSON writes a value ...
    _rule(
        rf"(?P<keep>{_WEAK}(?:=(?![\s=])|{_QUOTE}\s{{0,8}}(?:=>|[=:])\s{{0,8}}))"
        rf"{_NOT_AGAIN}{_NO_SECRET}(?:{_QUOTED}|{_BARE})"
    ),
    # ... and as prose does. Words that mean other things as well count where the value is likely.
    _rule(
        rf"(?P<keep>(?:{_WEAK}|signature|(?<![a-z])(?:sig|bearer)){_IS}(?:{_QUOTE})?)"
        rf"(?!\d{{1,5}}\b){_LIKELY}"
    ),
    _rule(rf"(?P<keep>(?<![a-z])pin(?:[_-]?code)?{_IS}(?:{_QUOTE})?)\d{{4,8}}(?![\w.-])"),
    # In the query of an address.
    _rule(rf"(?P<keep>[?&](?:[\w-]{{1,40}}-)?(?:sig|sign|signature)=){_NOT_AGAIN}[^\s&#\"'<>]+"),
    _rule(rf"(?P<keep>[?&](?:key|code)=)(?=[^\s&#]{{16}}){_LIKELY}"),
    # user:password@host. The password may hold an "@", and a "/" where it is no port.
    _rule(
        r"""(?P<keep>://[^\s:/?#@"'<>]*:)"""
        r"""(?:[^\s/?#"'<>]+(?=@)|(?!\d{1,5}(?:[/?#\s]|\Z))[^\s:"'<>]+(?=@))"""
    ),
)
# Behind no more than a blank.
_BY_WORD: Final = (
    # Behind a scheme what is no word: "basic arithmetic" stays.
    _rule(
        r"\b(?P<keep>(?i:bearer|basic|digest)\s{1,8})"
        r"(?=[A-Za-z.~-]{0,256}[0-9=/+_]|[A-Za-z.~-]{1,256}[A-Z])[A-Za-z0-9._~+/=-]{8,}",
        re.NOFLAG,
    ),
    _rule(
        r"\b(?P<keep>token\s{1,8})(?=[a-z._~+/=-]{0,64}[0-9])(?=[0-9._~+/=-]{0,64}[a-z])"
        r"[\w.~+/=-]{12,}"
    ),
)

# Keys of well-known services.
_BY_LOOKS: Final = _rule(
    r"(?<![A-Za-z0-9])(?:sk-[A-Za-z0-9_*-]{8,}"
    r"|(?:[sr]k_(?:live|test)_|whsec_|gh[opsur]_|github_pat_|glpat-|xox[a-z]-|xapp-|hf_|gsk_|AIza|"
    r"GOCSPX-|ya29\.|hvs\.|dckr_pat_|dop_v1_|shp[a-z]{2}_|lsv2_[a-z]{2}_|nvapi-|pplx-|tvly-|SG\.)"
    r"[A-Za-z0-9_.-]{10,}"
    r"|npm_[A-Za-z0-9]{16,}"
    r"|pypi-(?=[a-z_-]{0,64}[A-Z0-9])[A-Za-z0-9_-]{10,}"
    r"|(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9])"
    r"|eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)?)",
    re.NOFLAG,
)

_RULES: Final = (_PEM, *_BY_NAME, *_BY_WORD, _BY_LOOKS)
_WITHOUT_SIGNS: Final = (_PEM, *_BY_WORD, _BY_LOOKS)
_SIGNS: Final = re.compile(r"""[=:"']""")
"""In a text without any of these no name can have a value."""
SEPARATED: Final = re.compile(r"[\s=:]")
"""In a text without any of these only the looks can tell a credential."""


def redact_secrets(text: str) -> str:
    """Take credentials out of a text.

    Args:
        text: any text.

    Returns:
        The text with ``[redacted]`` in the place of keys, passwords and tokens: values
        behind a name that says so, authorization and cookie headers, passwords in
        addresses, signatures in queries, PEM keys, and the formats of well-known services'
        keys. Counts such as ``total_tokens: 512`` stay.
    """
    # Of most texts on spans, which are names, paths and ids, only the looks can tell.
    rules: tuple[Rule, ...] = (_BY_LOOKS,)
    if SEPARATED.search(text):
        rules = _RULES if _SIGNS.search(text) else _WITHOUT_SIGNS
    for pattern, replacement in rules:
        text = pattern.sub(replacement, text)
    return text
