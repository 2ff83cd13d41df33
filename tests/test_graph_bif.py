"""BIF files: what is read, what is written, and that damage is told with its line."""

import gzip
import random
import re

import pytest
import torch
from enumerated import random_net
from hypothesis import given, settings
from hypothesis import strategies as st

from companion.graphs import BayesNet, Table, medical_diagnosis, read_bif, write_bif
from companion.graphs.bif import Reader

VALID = """network rain { property author "me; you" ; }
variable rain { type discrete [ 2 ] { no, yes }; }
variable sprinkler { type discrete [ 2 ] { off, on }; }
variable grass { type discrete [ 3 ] { dry, damp, wet }; }
probability ( rain ) { table 0.8, 0.2; }
probability ( sprinkler | rain ) {
  (no) 0.6, 0.4;
  (yes) 0.99, 0.01;
}
probability ( grass | sprinkler, rain ) {
  (off, no) 1.0, 0.0, 0.0;
  (off, yes) 0.2, 0.3, 0.5;
  (on, no) 0.1, 0.3, 0.6;
  (on, yes) 0.01, 0.09, 0.9;
}
"""


def read(text: str) -> BayesNet:
    """Read a text as the file net.bif."""
    return Reader(text, "net.bif").network()


def changed(old: str, new: str) -> str:
    """The valid text with one place changed."""
    assert VALID.count(old) >= 1
    return VALID.replace(old, new, 1)


def same(one: BayesNet, two: BayesNet) -> bool:
    """Say whether two networks agree to the last bit, whatever the order of their axes."""
    laws = [(t, two.tables[node].marginal(*t.names)) for node, t in one.tables.items()]
    return one.states == two.states and all(torch.equal(a.values, b.values) for a, b in laws)


def test_a_network_is_read():
    net = read(VALID)
    assert set(net.dag.edges) == {("rain", "sprinkler"), ("sprinkler", "grass"), ("rain", "grass")}
    assert net.states["grass"] == ("dry", "damp", "wet")
    assert net.tables["grass"][{"sprinkler": "on", "rain": "no", "grass": "damp"}] == 0.3
    assert net.tables["rain"]["yes"] == 0.2


TWO_ROWS = "(no) 0.6, 0.4;\n  (yes) 0.99, 0.01;"
FIRST_TABLE = "probability ( rain ) { table 0.8, 0.2; }\n"
SAME = {
    "comments": changed("{ no", "{ // states\n /* two\n of them */ no"),
    "properties": changed("(no) 0.6", "property position = (73, 165) ;\n (no) 0.6"),
    "a property of a variable": changed("type", 'property "}" ;\n type'),
    "quotes": VALID.replace("rain", '"rain"').replace("wet", '"wet"'),
    "no commas": changed("0.8, 0.2", "0.8 0.2"),
    "one line": " ".join(VALID.split()),
    "Windows": VALID.replace("\n", "\r\n"),
    "no spaces": changed("( grass | sprinkler, rain ) {", "(grass|sprinkler,rain){"),
    "exponents": changed("0.01, 0.09, 0.9", "1e-2, 9.0E-2, .9"),
    "no network block": VALID.partition("\n")[2],
    "rows in another order": changed(TWO_ROWS, "(yes) 0.99, 0.01; (no) 0.6, 0.4;"),
    "a default row": changed("(no) 0.6, 0.4;", "default 0.6, 0.4;"),
    "a table with parents": changed(TWO_ROWS, "table 0.6, 0.99, 0.4, 0.01;"),
    "blocks in another order": changed(FIRST_TABLE, "") + FIRST_TABLE,
    "no bar": VALID.replace(" | ", " "),
    "a comma for the bar": VALID.replace(" | ", ", "),
    "bars for commas": changed("{ dry, damp, wet }", "{ dry | damp | wet }"),
    "text between the blocks": changed(
        FIRST_TABLE, f"A network about the {{lawn}} (1998):\n{FIRST_TABLE}"
    )
    + "The end of the network; see also variable grass.\n",
    "an old Macintosh": changed("{ no", "{ // states\n no").replace("\n", "\r"),
    "as JavaBayes writes it": """network "Lawn" { property "credal-set constant 1.1" ; }
variable  "rain" { type discrete[2] {  "no"  "yes" }; property "position = (10, 20)" ; }
variable  "sprinkler" { type discrete[2] {  "off"  "on" }; }
variable  "grass" { type discrete[3] {  "dry"  "damp"  "wet" }; }
probability (  "rain" ) { //1 variable(s) and 2 values
\ttable 0.8 0.2 ; }
probability (  "sprinkler"  "rain" ) { //2 variable(s) and 4 values
\ttable 0.6 0.99 0.4 0.01 ; }
probability (  "grass"  "sprinkler"  "rain" ) { //3 variable(s) and 12 values
\ttable 1.0 0.2 0.1 0.01 0.0 0.3 0.3 0.09 0.0 0.5 0.6 0.9 ; }
""",
}


@pytest.mark.parametrize("text", SAME.values(), ids=SAME)
def test_the_same_network_can_be_written_in_many_ways(text):
    assert same(read(text), read(VALID))


def test_rounded_rows_are_divided_by_their_sum():
    net = read(changed("0.2, 0.3, 0.5", "0.333, 0.333, 0.333"))
    row = net.tables["grass"].restrict({"sprinkler": "off", "rain": "yes"})
    assert row.values.tolist() == pytest.approx([1 / 3] * 3, abs=1e-15)


ROUNDED = {  # rows that are right but for the digits written
    "thirds": "0.333, 0.333, 0.333",
    "sixths": "0.17, 0.17, 0.67",
    "significant digits": "0.99, 0.0067, 0.0033",
    "exponents": "9.9e-1, 6.67e-3, 3.33e-3",
    "single precision": "0.10000000149011612, 0.20000000298023224, 0.699999988079071",
    "dust below": "-1e-17, 0.5, 0.5",
    "dust above": "1.0000000000000002, 0.0, 0.0",
}


@pytest.mark.parametrize("row", ROUNDED.values(), ids=ROUNDED)
def test_a_row_that_its_digits_explain_is_divided_by_its_sum(row):
    net = read(changed("0.2, 0.3, 0.5", row))
    law = net.tables["grass"].restrict({"sprinkler": "off", "rain": "yes"})
    written = torch.tensor([float(number) for number in row.split(", ")])
    assert law.values.sum().item() == pytest.approx(1, abs=1e-15)
    assert torch.allclose(law.values, written.double(), atol=1e-2)


WRONG = {  # what is replaced, by what, on which line that is noticed, and what is said
    "another language": (VALID, "@book{x}", 1, "no network here: neither a variable nor a prob"),
    "nothing": (VALID, "", 1, "no network here: neither a variable nor a probability block"),
    "no states": ("[ 2 ] { no, yes }", "[ 0 ] { }", 2, "'rain' announces 0 different states, has"),
    "a wrong count": ("[ 3 ]", "[ 4 ]", 4, "announces 4 different states, has dry, damp, wet"),
    "a state twice": ("off, on", "on, on", 3, "announces 2 different states, has on, on"),
    "no type": ("type discrete [ 2 ] { no, yes };", "", 2, "the variable 'rain' has no type"),
    "real numbers": ("discrete", "continuous", 2, "needs 'discrete' here, not 'continuous'"),
    "a variable twice": ("variable sprinkler", "variable rain", 3, "'rain' is declared twice"),
    "an unknown parent": (
        "| rain",
        "| rian",
        6,
        "no variable 'rian' (did you mean 'rain'? known:",
    ),
    "an unknown child": ("( grass", "( gras", 10, "no variable 'gras' (did you mean 'grass'?"),
    "an unknown state": ("(yes)", "(yess)", 8, "'rain' has no state 'yess' (did you mean 'yes'?"),
    "its own parent": ("r | rain", "r | sprinkler", 6, "a variable repeats in the block of 'spr"),
    "two children": ("( rain )", "( rain, sprinkler | grass )", 5, "the bar, not rain, sprinkler"),
    "no child": ("( rain )", "( )", 5, "one variable belongs in the brackets, not none"),
    "no child, but a bar": ("( rain )", "( | grass )", 5, "belongs before the bar, not none"),
    "a row missing": ("  (off, yes) 0.2, 0.3, 0.5;\n", "", 14, "for sprinkler = off, rain = yes"),
    "no rows": ("table 0.8, 0.2;", "", 5, "'rain' has no row"),
    "a row twice": ("(yes)", "(no)", 8, "a second row of 'sprinkler' for the same states of its"),
    "a short key": ("(off, no)", "(off)", 11, "a row needs 2 states in its brackets, got 1"),
    "0.89 and 0.1": ("0.6, 0.4", "0.89, 0.1", 7, "'sprinkler' sums to 0.99, not to 1, and round"),
    "a short row cut": ("0.2, 0.3, 0.5", "0.2, 0.3, 0.48", 12, "'grass' sums to 0.98, not to 1"),
    "one column of a table": (TWO_ROWS, "table 0.6 0.99 0.39 0.01;", 7, "to 0.99, not to 1"),
    "a row of 1.1": ("0.6, 0.4", "0.7, 0.4", 7, "a row of 'sprinkler' sums to 1.1, not to 1"),
    "too few numbers": ("0.3, 0.6;", "0.9;", 13, "needs 3 numbers in [0, 1], got 0.1, 0.9"),
    "letters": ("0.09", "O.O9", 14, "probabilities are numbers, got 0.01, O.O9, 0.9"),
    "not a number": ("0.09", "nan", 14, "needs 3 numbers in [0, 1], got 0.01, nan, 0.9"),
    "a negative number": ("0.8, 0.2", "-0.8, 1.8", 5, "numbers in [0, 1], got -0.8, 1.8"),
    "no semicolon": ("0.6, 0.4;", "0.6, 0.4", 8, "needs ';' before '('"),
    "a second table": (
        "\n}\nprobability ( grass",
        f"}}{FIRST_TABLE}",
        8,
        "a second table for 'rain'",
    ),
    "no table": (FIRST_TABLE, "", 14, "'rain' has no probability block"),
    "an empty name": ("variable rain", 'variable ""', 5, "no variable 'rain'"),
}


@pytest.mark.parametrize(("old", "new", "line", "sentence"), WRONG.values(), ids=WRONG)
def test_a_malformed_text_is_told_with_its_line(old, new, line, sentence):
    with pytest.raises(ValueError) as caught:
        read(changed(old, new))
    assert str(caught.value).startswith(f"net.bif, line {line}: ")
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


def test_a_cycle_is_told_with_the_file():
    text = changed("( rain ) { table", "( rain | grass ) { default")
    with pytest.raises(ValueError, match=r"^net\.bif: the graph has a cycle: \w+ → \w+ → .*\w+$"):
        read(text)


def test_a_text_that_ends_early_is_told_with_its_line():
    """Every prefix that cuts a block is refused, at its last line at the latest."""
    for end in range(len(VALID.rstrip())):
        with pytest.raises(ValueError, match=r"^net\.bif, line \d+: ") as caught:
            read(VALID[:end])
        line = int(re.search(r"line (\d+)", str(caught.value))[1])
        assert line <= VALID[:end].count("\n") + 1


@settings(max_examples=400, deadline=2_000)
@given(st.randoms(use_true_random=False), st.integers(1, 4))
def test_a_damaged_text_is_read_or_refused_but_nothing_else(rng: random.Random, changes: int):
    text = VALID
    for _ in range(changes):
        i, j, k = sorted(rng.randint(0, len(text)) for _ in range(3))
        short = min(j, i + rng.choice((0, 1, 5)))
        text = rng.choice((
            text[:i] + text[j:],
            text[:i] + text[k : k + 9] + text[short:],
            text[:i] + rng.choice('{}()[];|,"/*\n\0é\\ 019.-e') + text[short:],
        ))  # fmt: skip
    try:
        net = read(text)
    except ValueError as error:
        assert re.match(r"net\.bif(, line \d+)?: ", str(error)) and "\n" not in str(error)
    else:
        assert net.joint().values.sum().item() == pytest.approx(1)


def test_writing_and_reading_gives_the_same_network_to_the_last_bit(tmp_path):
    rng = random.Random(0)
    for net in [medical_diagnosis()] + [random_net(rng.randint(1, 7), rng) for _ in range(30)]:
        write_bif(net, tmp_path / "net.bif")
        assert same(read_bif(tmp_path / "net.bif"), net)
        (tmp_path / "net.bif.gz").write_bytes(gzip.compress((tmp_path / "net.bif").read_bytes()))
        assert same(read_bif(tmp_path / "net.bif.gz"), net)


def test_a_damaged_archive_is_refused_whatever_was_damaged(tmp_path):
    raw, path = gzip.compress(VALID.encode(), mtime=0), tmp_path / "net.bif.gz"
    rng, refused = random.Random(0), 0
    damaged = [raw[:end] for end in range(2, len(raw), 7)]
    for _ in range(100):
        i = rng.randrange(10, len(raw))
        damaged.append(raw[:i] + bytes([raw[i] ^ 1 << rng.randrange(8)]) + raw[i + 1 :])
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"^net\.bif\.gz is not a BIF text or a whole \.gz"):
            read_bif(path)
        refused += 1
    assert refused == len(damaged)


def test_bytes_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "net.bif").write_bytes(b"variable \xff")
    with pytest.raises(ValueError, match=r"^net\.bif is not a BIF text in UTF-8 .* as UTF-8"):
        read_bif(tmp_path / "net.bif")


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16", "mac-roman"])
def test_another_encoding_is_told_and_what_to_do(encoding, tmp_path):
    (tmp_path / "net.bif").write_bytes(VALID.replace("rain", "pluie_été").encode(encoding))
    with pytest.raises(ValueError, match=r"not a BIF text in UTF-8 .* save it as UTF-8"):
        read_bif(tmp_path / "net.bif")


@pytest.mark.parametrize("name", ["a b", "", "a;b", 'a"b', "//a", "{", "a,b"])
def test_names_that_bif_cannot_hold_are_refused_and_the_file_is_kept(name, tmp_path):
    path = tmp_path / "net.bif"
    write_bif(read(VALID), path)
    before = path.read_bytes()
    for net in (
        BayesNet({name: Table([1.0], [name])}),
        BayesNet({"x": Table([1.0], {"x": [name]})}),
    ):
        with pytest.raises(ValueError, match=f"^BIF cannot hold the name {re.escape(repr(name))}"):
            write_bif(net, path)
    assert path.read_bytes() == before


LOST = {  # what would come back as something else
    "whole numbers": ({"x": Table([0.3, 0.7], {"x": [0, 1]})}, "int 0 would come back as '0'"),
    "truth values": (
        {"x": Table([1.0], {"x": [True]})},
        "bool True would come back as 'True'",
    ),
    "a number as a name": ({1: Table([1.0], {1: ["a"]})}, "the int 1 would come back as '1'"),
    "1 and '1'": ({"1": Table([1.0], ["1"]), 1: Table([1.0], [1])}, "the int 1 would come back"),
    "seven digits": ({"x": Table([0.3333333] * 3, ["x"])}, "a row sums to 0.99999"),
    "single precision": (
        {"x": Table(torch.tensor([0.1, 0.2, 0.7]), ["x"])},
        "a row sums to 0.9999999",
    ),
    "a row above 1": ({"x": Table([1.000005, 0.0], ["x"])}, "numbers in [0, 1], got 1.000005"),
}


@pytest.mark.parametrize(("tables", "sentence"), LOST.values(), ids=LOST)
def test_what_would_not_come_back_is_not_written(tables, sentence, tmp_path):
    with pytest.raises(ValueError) as caught:
        write_bif(BayesNet(tables), tmp_path / "net.bif")
    assert sentence in str(caught.value) and not (tmp_path / "net.bif").exists()
