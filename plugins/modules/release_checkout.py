#!/usr/bin/python
# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Put a project directory on a release, or make a tree of the release beside it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release_checkout
short_description: Put a project directory on a release, losing nothing
version_added: 0.1.0
description:
  - Finds the tag of a release here and at the remote, refuses a tag that was moved, saves local edits, and only then
    moves the tree. All refusals come before anything changes.
  - Everything that is taken out of the tree is kept under C(refs/rollback/RUN_ID/), and the result names the commands
    that put it back.
  - Git runs as the owner of the tree, without prompts and without hooks. No Git configuration is changed.
author:
  - usdx.rollback contributors (@usdx)
attributes:
  action:
    support: full
    description: A plugin on the controller sends what is needed to check out, and not the module, where it can.
  async:
    support: none
    description: It is not made for it.
  check_mode:
    support: full
    description: Can run in check mode and tell what would change, without changing it.
    details:
      - With O(state=prepared) the tree is really made, also in check mode, because it is a private copy outside of the
        project directory and the following steps of a plan need it. C(changed) is true then.
      - With O(state=checked_out) a tag that is missing here is fetched into a temporary repository, so that signature,
        files in the way and version are checked as in a real run.
  diff_mode:
    support: full
    description: Returns commit, branch, local edits and untracked files before and after.
  idempotent:
    support: full
    description: A second call with the same options changes nothing.
  platform:
    support: full
    platforms: posix
    description: Where it runs.
requirements:
  - git 2.29 or later
  - setpriv of util-linux, when root works on a tree of another user
  - timeout of coreutils
options:
  path:
    description:
      - The project directory. It must be the top of a git checkout.
    type: path
    required: true
  version:
    description:
      - The release, by its tag. V(v1.0.2) and V(1.0.2) name the same release.
      - One of O(version) and O(undo) must be given.
    type: str
  undo:
    description:
      - Instead of a release, what was checked out before the run with this O(run_id), as that saved it under
        C(refs/rollback/RUN_ID/); the commit, its branch, local edits, staged and not, the files that Git did not track,
        and where the submodules were.
      - The branch is checked out again when it still is at that commit. Otherwise HEAD is detached, with a warning.
      - What is in the tree now is saved first, under O(run_id), so an undo can itself be undone.
      - Nothing changes when the run saved no position, because it had nothing to change or was cut off before. The
        result is then about what is checked out now.
      - With O(state=prepared) the tree holds the edits and the files as well.
      - No remote is asked, except by Git for a submodule that is not there. O(commit), O(remote), O(verify_signature)
        and O(leftovers) do not count.
    type: str
  state:
    description:
      - V(checked_out) puts the project directory on the release, with a detached HEAD, and its submodules with it.
      - V(prepared) makes a tree of the release in O(destination) and does not touch the project directory and its
        repository at all. The tree borrows the project's objects, so it lives as long as the project does. (In a
        partial clone, Git itself fetches objects that it needs to read into the project's repository.) Submodules
        of the release are cloned into it from their remotes.
    type: str
    choices: [checked_out, prepared]
    default: checked_out
  commit:
    description:
      - The commit that the tag must name, at least 7 hex digits. Anything else is refused.
      - When the tag names one commit here and another at the remote, this says which of the two is trusted. The local
        tag is left alone.
    type: str
  patch:
    description:
      - A file on the managed host with a patch, as C(git format-patch) or C(git diff) writes it. What is checked out is
        then a commit with this patch on top of the release, C(commit) of RV(release).
      - That commit is made without touching the tree. Its author, date and message come from the release and the patch
        alone, so it is the same on every host. It is kept under C(refs/rollback/RUN_ID/patched).
      - The patch must fit without fuzz. It may not change symbolic links, submodules and C(.gitmodules), and is at most
        10 MB large. A patch that does not fit is refused before anything changes.
    type: path
    version_added: 0.2.0
  patch_name:
    description:
      - Under which name the patch is recorded. The name of the file by default. It is part of the commit.
    type: str
    version_added: 0.2.0
  patched_commit:
    description:
      - The commit that the release with the patch must be. Another one is refused.
    type: str
    version_added: 0.2.0
  destination:
    description:
      - With O(state=prepared), the folder of the release's tree, outside of the project directory. It is made with mode
        0700, for the owner of the project directory, who must be able to reach it. The folder above it must exist.
      - Without it a new private folder is made where the host keeps temporary files. Its name is returned as RV(tree),
        and it is the caller's to remove.
      - An existing folder is accepted when it is empty or was made by this module. It is made anew when it is damaged
        or holds another release.
    type: path
  remote:
    description:
      - The name of the remote that tags are compared with and fetched from.
      - When it does not answer and the tag exists here, the module goes on with a warning.
      - It is not asked with O(state=checked_out) when O(commit) is a full commit id that the tag names here. Its answer
        could change nothing then, and users may be waiting.
    type: str
    default: origin
  fetch_timeout:
    description:
      - The limit of each call to the remote, in seconds.
    type: float
    default: 60
  verify_signature:
    description:
      - Whether the tag must have a good signature; the commit, if the tag is a lightweight one. It is checked before
        the tree moves, with the keys that the owner of the tree trusts.
    type: bool
    default: false
  local_edits:
    description:
      - What happens to edits of tracked files. V(stash) saves them, staged and not, as C(local-edits). V(fail) refuses
        to go on.
      - Edits inside of submodules and unresolved conflicts are always refused.
    type: str
    choices: [stash, fail]
    default: stash
  leftovers:
    description:
      - What happens to files that Git does not track and does not ignore. V(report) lists them. V(remove) saves and
        removes them, except those that O(copy_untracked) names and repositories of their own.
      - Files that the release would overwrite are saved and removed in any case, ignored ones too.
      - Saved files keep their content and whether they can be executed, not their owner and the rest of their mode.
    type: str
    choices: [report, remove]
    default: report
  run_id:
    description:
      - Names the references under C(refs/rollback/), so it must be another one for each run. A call with the id of a
        run that was cut off goes on where that stopped. Letters, digits, C(_) and C(-), at most 64.
      - Without it the UTC time is taken.
      - With O(state=prepared) nothing is saved, and RV(before) is what was there before the run of this id was cut off.
    type: str
  copy_untracked:
    description:
      - With O(state=prepared), patterns of files that Git does not track and that are copied from the project directory
        into the tree, with mode and owner, because Compose needs them. A pattern without a slash matches at any depth.
    type: list
    elements: str
    default: [.env, .env.*, "*.env"]
seealso:
  - module: ansible.builtin.git
  - module: usdx.rollback.compose_start
  - module: usdx.rollback.version_verify
"""

EXAMPLES = r"""
- name: Make a tree of the release to build from, while the application still serves
  usdx.rollback.release_checkout:
    path: /opt/usdx-wexel
    version: v1.0.2
    state: prepared
    destination: /var/lib/usdx-rollback/usdx-wexel-1.0.2

- name: Put the project directory on the release
  usdx.rollback.release_checkout:
    path: /opt/usdx-wexel
    version: v1.0.2
    run_id: 20241228T014500Z-7f3a

- name: The same, only if the tag is signed and names the commit that was deployed
  usdx.rollback.release_checkout:
    path: /opt/usdx-wexel
    version: v1.0.2
    commit: 3f2a91c0d4be
    verify_signature: true

- name: Put it on the release with a security patch that lies on the host
  usdx.rollback.release_checkout:
    path: /opt/usdx-wexel
    version: v1.0.2
    patch: /opt/fix-auth.patch

- name: Put back what was checked out before that run, with the local edits
  usdx.rollback.release_checkout:
    path: /opt/usdx-wexel
    undo: 20241228T014500Z-7f3a
    run_id: 20241228T031500Z-09be
"""

RETURN = r"""
release:
  description: The release. C(release.name) is as typed, C(release.date) is that of the commit. With O(undo) the name is
    the tag of the commit; without a tag it is what git describe says, and C(release.number) and C(release.tag) are
    null.
    With a patch on top C(release.commit) is the commit with it, and C(release.patch) has C(name), C(sha256), C(base)
    (the commit of the tag) and C(files) (at most 100 that it changes). The same holds for RV(before) and RV(after).
  returned: success
  type: dict
  sample: {"name": "v1.0.2", "number": "1.0.2", "tag": "v1.0.2", "commit": "3f2a91c0d4be5a6b7c8d9e0f1a2b3c4d5e6f7a8b",
    "date": "2024-12-20T10:00:00+00:00"}
before:
  description: The project directory before. C(before.branch) and C(before.release) may be null, and C(before.since),
    since when this commit is checked out, when the reflog does not tell.
  returned: success
  type: dict
  sample: {"commit": "9b1c6d2e3f4a5b6c7d8e9f0a1b2c3d4e5f6a7b8c", "branch": "main", "describe": "v1.0.3",
    "release": "v1.0.3", "since": "2024-12-28T03:00:00+01:00", "dirty": true}
after:
  description: The tree after, observed; predicted in check mode. With O(state=prepared) the tree in O(destination).
  returned: success
  type: dict
  sample: {"commit": "3f2a91c0d4be5a6b7c8d9e0f1a2b3c4d5e6f7a8b", "describe": "v1.0.2", "release": "v1.0.2"}
local_edits:
  description: Edited files, and the reference and commit with which the run first kept edits, or null.
  returned: success
  type: dict
  sample: {"files": ["docker-compose.yml"], "ref": "refs/rollback/20241228T014500Z-7f3a/local-edits",
    "commit": "0a1b2c3d4e5f60718293a4b5c6d7e8f901234567"}
leftovers:
  description: Untracked files that stay (at most 100 names, and how many), those that were removed, and the reference
    that keeps them.
  returned: success
  type: dict
  sample: {"files": ["notes.txt"], "count": 1, "removed": [], "ref": null}
remote:
  description: Whether the remote was asked and answered, and the commit that its tag names, or null.
  returned: success
  type: dict
  sample: {"name": "origin", "answered": true, "commit": "3f2a91c0d4be5a6b7c8d9e0f1a2b3c4d5e6f7a8b"}
fetched:
  description: Whether the tag had to be fetched.
  returned: success
  type: bool
tree:
  description: Where the release's tree is.
  returned: success
  type: str
  sample: /opt/usdx-wexel
patch_file:
  description: Where the tree keeps the patch, with O(state=prepared), for its owner only; empty without one.
  returned: success
  type: str
copied:
  description: Files that were copied into the tree, with O(state=prepared).
  returned: success
  type: list
  elements: str
  sample: [".env"]
package_version:
  description: The version that C(package.json) of the release states, or null.
  returned: success
  type: str
  sample: 1.0.2
signature:
  description: Whether a signature was checked, and whether it is good.
  returned: success
  type: dict
  sample: {"checked": true, "ok": true}
undo:
  description: Commands that put the tree back as it was before the run, quoted for a shell.
  returned: success
  type: list
  elements: str
  sample: ["git -C /opt/usdx-wexel checkout main --"]
next_step:
  description: What to type or to change next.
  returned: failure
  type: str
commits:
  description: The commits between which O(commit) must decide.
  returned: failure, for a tag that was moved
  type: list
  elements: str
releases:
  description: The releases that exist, newest first.
  returned: failure, for an unknown tag
  type: list
  elements: str
command:
  description: The git command that failed.
  returned: failure, of git
  type: str
rc:
  description: Its return code.
  returned: failure, of git
  type: int
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.usdx.rollback.plugins.module_utils.border import carry_out
from ansible_collections.usdx.rollback.plugins.module_utils.checkout import DEFAULT_UNTRACKED
from ansible_collections.usdx.rollback.plugins.module_utils.former_state import checkout_as_asked
from ansible_collections.usdx.rollback.plugins.module_utils.process import run

ARGUMENTS = {
    "path": {"type": "path", "required": True},
    "version": {"type": "str"},
    "undo": {"type": "str"},
    "state": {"type": "str", "choices": ["checked_out", "prepared"], "default": "checked_out"},
    "commit": {"type": "str"},
    "patch": {"type": "path"},
    "patch_name": {"type": "str"},
    "patched_commit": {"type": "str"},
    "destination": {"type": "path"},
    "remote": {"type": "str", "default": "origin"},
    "fetch_timeout": {"type": "float", "default": 60},
    "verify_signature": {"type": "bool", "default": False},
    "local_edits": {"type": "str", "choices": ["stash", "fail"], "default": "stash"},
    "leftovers": {"type": "str", "choices": ["report", "remove"], "default": "report"},
    "run_id": {"type": "str"},
    "copy_untracked": {"type": "list", "elements": "str", "default": list(DEFAULT_UNTRACKED)},
}
RULES = {
    "mutually_exclusive": [("version", "undo"), ("patch", "undo")],
    "required_by": {"patch_name": ["patch"], "patched_commit": ["patch"]},
    "required_one_of": [("version", "undo")],
}


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, **RULES, supports_check_mode=True)
    carry_out(module, lambda: checkout_as_asked(module.params, run, check=module.check_mode))


if __name__ == "__main__":
    main()
