"""docs/migrating.md says what is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from linkkit_sidecar import Device
from linkkit_sidecar.compat import _login
from linkkit_sidecar.compat._filters import unasked
from linkkit_sidecar.compat._to_come import MEANWHILE, TO_COME

from . import test_api, test_arrivals, test_link, test_methods, test_programs

PAGE = (Path(__file__).parents[2] / "docs" / "migrating.md").read_text()

# What shows that a quirk is kept or mended as the page says.
SHOWN = {
    1: test_link.test_a_platform_that_is_not_reached_is_told_of_as_9,
    2: test_arrivals.test_what_the_platform_sends_unasked_arrives,
    3: test_arrivals.test_what_the_platform_sends_unasked_arrives,
    4: test_arrivals.test_what_the_platform_sends_unasked_arrives,
    5: test_programs.test_a_program_is_told_the_same_on_the_sidecar,
    6: test_link.test_subscriptions_outlive_the_link,
    7: test_link.test_a_refused_registration_is_told_of_at_once,
    8: test_link.test_a_registration_that_does_not_reach_the_platform_goes_on,
    9: test_arrivals.test_what_the_platform_sends_unasked_arrives,
    10: test_api.test_a_method_is_on_the_list_while_it_only_says_so,
    11: test_api.test_a_method_is_on_the_list_while_it_only_says_so,
    13: test_methods.test_settings_out_of_range,
    14: test_api.test_ours_has_nothing_else_in_public,
    16: test_link.test_a_stored_credential_is_used_rather_than_registering_again,
    17: test_link.test_the_wait_between_attempts_is_the_sidecars_and_keeps_to_its_bounds,
    18: test_link.test_a_callback_may_end_the_link,
}


def rows() -> dict[int, str]:
    return {int(number): verdict for number, verdict in re.findall(r"^\| (\d+) \| [^|]+ \| ([^|]+) \| [^|]+ \|$", PAGE, re.MULTILINE)}


def test_each_quirk_is_kept_or_mended_and_that_is_shown():
    assert list(rows()) == list(range(1, 19))
    assert set(rows().values()) == {"kept", "mended", "does not arise"}
    assert {number for number, verdict in rows().items() if verdict != "does not arise"} == set(SHOWN)


def test_where_programs_are_told_something_else_the_page_says_so():
    differences = {quirk for all in test_programs.MENDED.values() for quirk, _, _ in all}
    assert {rows()[quirk] for quirk in differences} == {"mended"}


@pytest.mark.parametrize("what", MEANWHILE)
def test_what_is_to_come_is_on_the_page(what):
    names = ", ".join(f"`{name}`" for name, belongs in TO_COME.items() if belongs == what)
    assert f"\n| {what} | {names} | {MEANWHILE[what]} |\n" in PAGE


def test_the_page_names_nothing_that_is_there():
    table = PAGE.split("## What is not there yet")[1].split("## What differs")[0]
    names = set(re.findall(r"`((?:on|thing|gateway|local|query|ota|download)_\w+)`", table))
    assert names == set(TO_COME)


def test_numbers_and_words_are_right():
    system = len(unasked(Device("pk", "dn")))
    assert f"LinkKit has {system} filters, do not\n  count" in PAGE
    assert f"`{_login.STORED}`" in PAGE
