# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which commit a release is."""

from __future__ import annotations

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils.checkout import package_version, readable
from ansible_collections.usdx.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.usdx.rollback.plugins.module_utils.git import Git, Identity
from ansible_collections.usdx.rollback.plugins.module_utils.release_choice import (
    Named,
    Remote,
    check_pin,
    choose,
    commits_refusal,
    parse_remote_tags,
)
from hypothesis import given
from hypothesis import strategies as st

A, B, C = (Named(letter * 40, letter * 40) for letter in "abc")
SILENT = Remote("origin", answered=False, reason="no route")


def there(**tags: Named) -> Remote:
    """Return a remote that answered; ``v1`` is the tag v1, ``n1`` the tag 1."""
    return Remote("origin", answered=True, tags={name.replace("n", ""): named for name, named in tags.items()})


def test_remote_tags() -> None:
    """The peeled line is the commit; a lightweight tag is its own; other lines do not count."""
    text = f"{'a' * 40}\trefs/tags/v1\n{'b' * 40}\trefs/tags/v1^{{}}\n{'c' * 40}\trefs/tags/v2\nwarning: x\n"
    assert parse_remote_tags(text) == {"v1": Named("a" * 40, "b" * 40), "v2": C}


@given(st.text(max_size=60))
def test_remote_answers_are_untrusted(text: str) -> None:
    """Whatever a remote prints, only commit ids come out."""
    for named in parse_remote_tags(text).values():
        assert set(named.commit + named.tag_object) <= set("0123456789abcdef")


def test_here_and_there_agree() -> None:
    """No warning, no fetch."""
    choice = choose("v1", {"v1": A}, there(v1=A), None, [])
    assert (choice.commit, choice.here, choice.moved, choice.warnings) == (A.commit, True, False, ())


def test_only_there() -> None:
    """It must be fetched."""
    assert choose("v1", {}, there(v1=A), None, []).here is False


def test_other_spelling() -> None:
    """1 finds v1, and the typed name wins when both name one commit."""
    assert choose("1", {"v1": A}, there(v1=A), None, []).tag == "v1"
    assert choose("1", {"v1": A, "1": A}, there(), None, []).tag == "1"


@pytest.mark.parametrize(("remote", "said"), [(SILENT, "no route"), (there(), "exists only here")])
def test_only_here_is_a_warning(remote: Remote, said: str) -> None:
    """The rollback goes on, and says that the tag was not compared."""
    assert said in choose("v1", {"v1": A}, remote, None, []).warnings[0]


def test_remote_that_was_not_asked_is_no_warning() -> None:
    """Nobody is told that a comparison is missing which was not wanted."""
    assert choose("v1", {"v1": A}, Remote("origin", answered=False, asked=False), A.commit, []).warnings == ()


def test_moved_tag_is_refused_and_a_pin_decides() -> None:
    """Each of the two commits can be trusted; no other."""
    with pytest.raises(RollbackError) as caught:
        choose("v1", {"v1": A}, there(v1=B), None, [])
    assert A.commit in caught.value.msg
    assert B.commit in caught.value.msg
    assert choose("v1", {"v1": A}, there(v1=B), "a" * 7, []).here is True
    trusted = choose("v1", {"v1": A}, there(v1=B), "b" * 7, [])
    assert (trusted.commit, trusted.here, trusted.moved) == (B.commit, False, True)
    with pytest.raises(RollbackError, match="matches no tag"):
        choose("v1", {"v1": A}, there(v1=B), "c" * 7, [])


@pytest.mark.parametrize("remote", [there(), there(n1=B), SILENT])
def test_two_tags_that_differ(remote: Remote) -> None:
    """Both spellings exist and differ: refused, whichever side has them; the pin decides."""
    local = {"v1": A} if remote.tags else {"v1": A, "1": B}
    with pytest.raises(RollbackError, match="Two tags name this release"):
        choose("v1", local, remote, None, [])
    assert choose("v1", local, remote, "b" * 40, []).tag == "1"


@pytest.mark.parametrize("remote", [there(), SILENT])
def test_unknown_tag_names_what_exists(remote: Remote) -> None:
    """The newest few are named, and whether the remote was asked."""
    with pytest.raises(RollbackError) as caught:
        choose("v9", {}, remote, None, [f"v1.{number}" for number in range(9, 0, -1)])
    assert "v1.9, v1.8, v1.7, v1.6, v1.5." in caught.value.next_step
    assert ("did not answer" in caught.value.msg) is not remote.answered


@pytest.mark.parametrize("pin", ["", "abc123", "v1.0.2", "--help", "g" * 8, "a" * 65, "abcdef1\n"])
def test_bad_pins(pin: str) -> None:
    """Only hex digits, at least seven."""
    with pytest.raises(RollbackError, match="not a commit id"):
        check_pin(pin)


def test_good_pins() -> None:
    """Upper case is a commit id too."""
    assert check_pin("ABCDEF1") == "abcdef1"
    assert check_pin(None) is None


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ('{"version": "1.0.2"}', "1.0.2"),
        ('{"version": 3}', None),
        ('{"version": "1\\n2"}', None),
        (f'{{"version": "{"9" * 101}"}}', None),
        ("[]", None),
        ("{", None),
        ("[" * 100_000, None),
        ("\udcff", None),
    ],
)
def test_package_version_of_untrusted_json(text: str, version: str | None) -> None:
    """Anything but a short printable string is no version, and never an error."""

    def answering(argv: list[str], **_options: object) -> tuple[int, str, str]:
        return 0, str(len(text)) if "-s" in argv else text, ""

    assert package_version(Git("/", answering, Identity(0, 0)), "HEAD") == version


def test_readable() -> None:
    """Bytes that are no text become escapes."""
    assert readable(["a\udcff", "é"]) == ["a\\udcff", "é"]


def test_hosts_that_would_go_to_different_commits_are_each_named_with_theirs() -> None:
    hosts = {"blue": {"name": "v1", "commit": A.commit}, "green": {"name": "v1", "commit": B.commit}}
    told = commits_refusal(hosts)
    assert told.startswith(f"v1 is not the same commit on all hosts: blue: {A.commit}, green: {B.commit}. ")
    assert "Nothing was changed." in told
    assert "git fetch --force --tags" in told
    assert f"-e commit={A.commit[:12]} or -e commit={B.commit[:12]}" in told


def test_hosts_that_go_to_one_commit_are_not_refused() -> None:
    one = {"name": "v1", "commit": A.commit}
    assert commits_refusal({"blue": one, "green": one}) == ""
    assert commits_refusal({"blue": one, "green": {}}) == "", "one that has not found it has said so itself"
    assert commits_refusal({"blue": one}) == ""


def test_of_patched_releases_the_commits_of_the_tag_are_told() -> None:
    """A pin names the commit of the tag, so a patched one would be of no use."""
    hosts = {
        host: {"name": "v1", "commit": patched.commit, "patch": {"name": "fix.patch", "base": base.commit}}
        for host, patched, base in (("blue", A, B), ("green", C, A))
    }
    told = commits_refusal(hosts)
    assert f"blue: {B.commit}, green: {A.commit}" in told
    assert f"-e commit={B.commit[:12]} or -e commit={A.commit[:12]}" in told
