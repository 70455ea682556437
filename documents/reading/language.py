"""In which language a text is written, by its commonest words: enough to tell, not to translate."""

import re
from collections.abc import Iterable

_WORD = re.compile(r"[^\W\d_]+")
FEWEST = 3
# Words that one language uses all the time and the others hardly ever.
_COMMON = {
    "nor": "og er ikke til på som av med skal ved jeg det ble eller hvis fra denne være",
    "eng": "the and of to is with by this that from not shall be or are for on as",
    "deu": "und der die das ist nicht mit von zu den dem ein eine für auf wird bei oder",
}
_SETS = {language: frozenset(words.split()) for language, words in _COMMON.items()}


def language_of(pages: Iterable[str]) -> str:
    """The ISO 639-3 code of the language; empty where there is too little to tell."""
    counts = dict.fromkeys(_SETS, 0)
    for page in pages:
        for word in _WORD.findall(page.lower()):
            for language, words in _SETS.items():
                counts[language] += word in words
    best = max(counts, key=lambda language: counts[language])
    others = sum(count for language, count in counts.items() if language != best)
    return best if counts[best] >= FEWEST and counts[best] > others else ""
