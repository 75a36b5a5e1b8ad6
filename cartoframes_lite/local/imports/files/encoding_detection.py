# ruff: noqa: RUF001 - letters that look like others are what this is about
"""Which 8-bit encoding makes a text out of bytes: the one whose letters are as frequent as in one of its languages.

Statistics of words, as charset-normalizer has them, are of no use for columns of names; those of accented letters are.
"""

from __future__ import annotations

import math
import re
from functools import cache

# Letters beyond ASCII and about how often they come in 100 (or 1000) of them.
_WESTERN = {
    "mixed": "é30 ü14 ä14 ö14 á14 ó14 í14 ñ8 ç8 è8 à8 ã6 ß4 ú5 ê4 ô3 å5 ø5 æ3 ë2 ï2 î2 û2 â3 õ2 ì1 ò2 ù2 œ1 ð1 þ1 ÿ1",
    "German": "ü30 ä28 ö22 ß20",
    "French": "é60 è12 à12 ê6 ç4 ô3 û2 î2 â2 ù1 ë1 ï1 œ1 ÿ1",
    "Spanish": "ó30 í26 á22 é14 ñ12 ú8 ü1",
    "Portuguese": "ã22 ç16 á14 é14 í12 ó10 ê8 õ6 ú5 â5 ô3 à2",
    "Italian": "à30 è30 ò15 ù12 ì8 é5",
    "Nordic": "ä30 å25 ö25 ø20 æ18 é3",
    "Icelandic": "ð25 á20 í20 ó12 é10 þ10 ö10 ú8 æ8 ý5",
}
_CENTRAL = {
    "Polish": "ł25 ó18 ą14 ę14 ż12 ś10 ć6 ń5 ź3",
    "Czech": "í22 á18 ě12 é10 ř9 č8 ž8 ý8 š7 ů5 ú1 ň1 ť1 ď1 ó1",
    "Slovak": "á20 í12 č12 ž12 ý12 é10 š10 ú8 ľ6 ť6 ň3 ô3 ó3 ä2 ď1 ĺ1 ŕ1",
    "Hungarian": "á32 é30 ö10 ó10 ő9 í6 ü6 ú3 ű3",
    "Croatian": "č30 š28 ž22 ć20 đ10",
    "Romanian": "ă40 ş18 ţ18 î12 â10",
}
_TURKISH = {"Turkish": "ı30 ü14 ş14 ğ10 ç10 ö8 İ4 â1"}
_BALTIC = {
    "Lithuanian": "ė25 š18 ų16 ž12 ū10 į8 ą8 č6 ę3",
    "Latvian": "ā35 ī18 ē16 š10 ņ6 ū5 ļ4 ž3 ģ2 č1 ķ1",
}
_RUSSIAN = (
    "о110 е85 а80 и74 н67 т63 с55 р47 в45 л44 к35 м32 д30 п28 у26 я20 ы19 ь17 г17 з16 б16 ч14 й12 х10 ж9 ш7 ю6 ц5 щ4"
    " э3 ф3 ъ1 ё1"
)
_CYRILLIC = {"Russian": _RUSSIAN, "Ukrainian": f"{_RUSSIAN} і57 ї8 є6 ґ1"}
_GREEK = {
    "Greek": "α100 ο90 ι80 ε80 τ80 ν60 σ50 η50 ρ40 π40 κ40 ς40 υ40 μ30 λ30 ί30 ό25 ά20 έ20 ή20 γ20 δ20 ω20 ύ10 ώ10 θ10"
    " φ10 χ10 β10 ξ5 ζ5 ψ2",
}
_HEBREW = {
    "Hebrew": "י110 ו100 ה90 ל75 מ70 א63 ר56 ת50 ב47 ש44 נ30 ע30 ם30 ד25 ח24 ק21 פ20 כ20 ס15 ן15 ט13 ז13 ג12 צ12"
    " ך5 ף3 ץ3",
}
_ARABIC = {
    "Arabic": "ا130 ل120 ي70 م60 و60 ن60 ر50 ت45 ب40 ة40 ع38 د35 ه30 س30 ف30 ك25 ق25 أ25 ح20 ج15 ش12 ص10 ط10 خ9 ض7 ذ6"
    " ث6 ى6 غ5 إ5 ء4 ظ3 آ2 ئ2 ؤ1",
}
_ENCODINGS = {
    "cp1252": _WESTERN,
    "cp1250": _CENTRAL,
    "iso8859-2": _CENTRAL,
    "cp1254": _TURKISH,
    "cp1257": _BALTIC,
    "cp1251": _CYRILLIC,
    "koi8-u": _CYRILLIC,
    "cp866": _CYRILLIC,
    "cp1253": _GREEK,
    "iso8859-7": _GREEK,
    "cp1255": _HEBREW,
    "cp1256": _ARABIC,
    "cp850": _WESTERN,
    "mac-roman": _WESTERN,
}
# Logarithms of chances. Of all the encodings, cp1252 is the one that files have as a rule.
_USUAL = {"cp1252": math.log(12), **dict.fromkeys(("cp866", "cp850", "mac-roman"), -math.log(12))}
_FOREIGN_LETTER, _LONE_LETTER, _RARE_SIGN, _COMMON_SIGN, _OUT_OF_PLACE = map(math.log, (5e-4, 0.01, 1e-3, 0.05, 1e-5))
_ACCENTS_AROUND = math.log(0.05)  # few have an accented letter on either side
_MARGIN = math.log(8)
_LEAST_MEAN = math.log(6e-3)
_SIGNS = frozenset("°€–—’‘“”„«»…§©®²³½·¿¡№´ºª")
_SCRIPTS = (("\u0600", "Arabic"), ("\u0590", "Hebrew"), ("\u0400", "Cyrillic"), ("\u0370", "Greek"), ("\0", "Latin"))
_FOREIGN = re.compile(r"[^\x00-\x7f]")
_ORDINALS = frozenset("ºª")  # letters to Unicode
_OPENING, _JOINING, _CLOSING = frozenset("¡¿«“‘„°§€\xa0–—"), frozenset("’·´‘"), frozenset("²³’»”…°\xa0–—®“")


def likely_encodings(sample: bytes) -> list[str]:
    """Find the encodings in which bytes are text.

    Parameters
    ----------
    sample : bytes
        With some beyond ASCII.

    Returns
    -------
    list of str
        Empty if the bytes are text in no encoding that is known here, one if that is much more likely than all that
        make another text, else all that come into question, the most likely first.
    """
    found: list[tuple[float, str, str]] = []
    for encoding, languages in _ENCODINGS.items():
        try:
            text = sample.decode(encoding)
        except UnicodeDecodeError:
            continue
        if all(text != other for _, _, other in found):
            merit = _merit(text, languages)
            if merit >= _LEAST_MEAN * len(_FOREIGN.findall(text)):
                found.append((merit + (_USUAL.get(encoding, 0.0)), encoding, text))
    found.sort(reverse=True)
    return [encoding for merit, encoding, _ in found if merit > found[0][0] - _MARGIN]


def _merit(text: str, languages: dict[str, str]) -> float:
    """Return the logarithm of the chance that the characters beyond ASCII are these, in the most likely language."""
    letters: dict[str, int] = {}
    others = 0.0
    for match in _FOREIGN.finditer(text):
        before, character, after = (
            text[match.start() - 1 : match.start()],
            match[0],
            text[match.end() : match.end() + 1],
        )
        if not character.isalpha() or character in _ORDINALS:
            others += _sign(before, character, after)
        elif _is_misplaced(before, character, after):
            others += _OUT_OF_PLACE
        elif not before.isalpha() and not after.isalpha():
            others += _LONE_LETTER
        else:
            if _script(character) == "Latin" and _is_accented(before) and _is_accented(after):
                others += _ACCENTS_AROUND
            letters[character] = letters.get(character, 0) + 1
    return others + max(
        sum(count * _chance(language, letter) for letter, count in letters.items()) for language in languages.values()
    )


def _sign(before: str, sign: str, after: str) -> float:
    """Judge a sign; few are in words or at their ends."""
    if before.isalpha() and after.isalpha():
        fits = sign in _JOINING
    else:
        fits = not (before.isalpha() and sign not in _CLOSING) and not (after.isalpha() and sign not in _OPENING)
    if not fits or (sign < "\xa0" or "─" <= sign <= "▟"):  # controls, and boxes of terminals
        return _OUT_OF_PLACE
    return _COMMON_SIGN if sign in _SIGNS else _RARE_SIGN


def _is_misplaced(before: str, letter: str, after: str) -> bool:
    """Tell whether a capital comes behind a small letter, or letters of two scripts meet."""
    if before.isalpha() and before.islower() and letter.isupper():
        return True
    own = _script(letter)
    return any(neighbor.isalpha() and _script(neighbor) != own for neighbor in (before, after))


def _is_accented(character: str) -> bool:
    return character.isalpha() and not character.isascii()


def _script(letter: str) -> str:
    return next(name for first, name in _SCRIPTS if letter >= first)


def _chance(language: str, letter: str) -> float:
    chances = _chances(language)
    return chances.get(letter, chances.get(letter.lower(), _FOREIGN_LETTER))


@cache
def _chances(language: str) -> dict[str, float]:
    """Read a table of letters."""
    weights = {part[0]: int(part[1:]) for part in language.split()}
    total = sum(weights.values())
    return {letter: math.log(weight / total) for letter, weight in weights.items()}
