"""The list of wrong versions keeps up with the package; `make mutants` plants them."""

from mutants import asked, faults, mutants


def test_every_wrong_version_can_still_be_planted_and_names_tests_that_exist():
    assert faults() == []


def test_a_version_is_asked_for_by_number_or_by_what_is_written_of_it():
    every = mutants()
    assert asked([]) == every and [one.number for one in asked(["3", "1"])] == [1, 3]
    assert {one.file for one in asked(["samplers/"])} > {"samplers/codes.py"}
    assert asked(["nowhere"]) == [] and len({one[1:] for one in every}) == len(every)
