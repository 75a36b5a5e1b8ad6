"""Encodings of delimited text that is not UTF-8."""

# ruff: noqa: RUF001 - letters that look like others are what this is about
from __future__ import annotations

import pytest

from cartoframes_lite.local.imports.files import ImportJobError
from tests.local.imports.files.conftest import Importer

TEXTS = [
    ("cp1252", ["Málaga", "Düsseldorf", "Besançon"]),
    ("cp1252", ["Genève", "Nîmes", "Orléans"]),
    ("cp1252", ["MÁLAGA", "LOGROÑO"]),
    ("cp1252", ["São Paulo", "Brasília", "Goiânia", "Florianópolis"]),
    ("cp1252", ["København", "Ålesund", "Tromsø"]),
    ("cp1252", ["L’été – 25 °C", "3 m²", "10 €"]),
    ("cp1252", ["10 €", "«Málaga»", "1º A"]),
    ("latin-1", ["Forlì", "Cantù", "L'Haÿ-les-Roses"]),
    ("cp1250", ["Łódź"]),
    ("cp1250", ["Łódź", "Kraków", "Poznań"]),
    ("iso8859-2", ["Łódź", "Kraków", "Poznań"]),
    ("cp1250", ["Plzeň", "České Budějovice", "Jiří z Poděbrad", "Ústí nad Labem"]),
    ("cp1250", ["Šibenik", "Čakovec", "Poreč"]),
    ("cp1250", ["Bucureşti", "Iaşi", "Braşov", "Constanţa"]),
    ("cp1253", ["Αθήνα", "Θεσσαλονίκη", "Πάτρα"]),
    ("iso8859-7", ["Αθήνα", "Θεσσαλονίκη", "Πάτρα"]),
    ("cp1251", ["Москва", "Санкт-Петербург"]),
    ("cp1251", ["Київ", "Чернівці"]),
    ("koi8-r", ["Москва", "Санкт-Петербург"]),
    ("cp866", ["Москва", "Санкт-Петербург"]),
    ("cp1254", ["İstanbul", "Diyarbakır", "Muş", "Iğdır", "Şanlıurfa"]),
    ("cp1257", ["Klaipėda", "Šiauliai", "Panevėžys"]),
    ("cp1255", ["ירושלים", "תל אביב"]),
    ("cp1256", ["القاهرة", "بغداد"]),
    ("shift_jis", ["東京都", "大阪市", "これは日本語のテキストです"]),
    ("gb18030", ["北京市是中华人民共和国的首都", "上海市位于中国东部", "深圳市与香港相邻"]),
    ("euc-kr", ["서울특별시는 대한민국의 수도이다", "부산광역시는 남쪽에 있는 도시"]),
]


@pytest.mark.parametrize(
    ("encoding", "names"), TEXTS, ids=lambda value: str(value[0]) if isinstance(value, list) else value
)
def test_encodings_are_detected(importer: Importer, encoding: str, names: list[str]) -> None:
    text = "name,n\n" + "".join(f"{name},{at}\n" for at, name in enumerate(names))
    importer.run(importer.write("t.csv", text.encode(encoding)))
    assert importer.rows("t", "name") == [(name,) for name in names]


@pytest.mark.parametrize("name", ["São Paulo", "café", "Málaga", "naïve", "Camões"])
def test_a_word_that_is_most_likely_western(importer: Importer, name: str) -> None:
    importer.run(importer.write("t.csv", f"name\n{name}\n".encode("cp1252")))
    assert importer.rows("t", "name") == [(name,)]


@pytest.mark.parametrize(
    ("encoding", "name", "others"),
    [("gb18030", "北京市", ("gb18030", "big5"))],
)
def test_ambiguous_encodings_are_refused(importer: Importer, encoding: str, name: str, others: tuple[str, ...]) -> None:
    with pytest.raises(ImportJobError, match="save the file as UTF-8") as refused:
        importer.run(importer.write("t.csv", f"name\n{name}\n".encode(encoding)))
    assert refused.value.code == 2002
    assert all(other in refused.value.detail for other in others)
