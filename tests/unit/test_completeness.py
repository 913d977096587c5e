# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever is shipped is documented and tested: a part that is forgotten fails here, not at a user's."""

from __future__ import annotations

import ast
import fnmatch
import importlib
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
PLUGINS = "ansible_collections.usdx.rollback.plugins"
ROLES = sorted(path for path in (REPOSITORY / "roles").iterdir() if path.is_dir())
MODULES = sorted(path for path in (REPOSITORY / "plugins/modules").glob("*.py") if path.name != "__init__.py")
UTILITIES = sorted(path for path in (REPOSITORY / "plugins/module_utils").glob("*.py") if path.name != "__init__.py")
PLAYBOOKS = sorted(path for path in (REPOSITORY / "playbooks").glob("*.yml") if path.name != "inventory.yml")
RUNBOOK = REPOSITORY / "docs/runbook.md"
# Nothing decides here: what they do is seen in every test of a module.
PLUMBING = {"border", "docker_client", "errors"}
# A playbook that only means something beside another one is tested in that one's scenario.
SCENARIOS = {"ready": "guard"}
README_LINES = ("Can be rolled back", "Idempotent", "Atomic", "Check mode")
ATTRIBUTES = {"check_mode", "diff_mode", "idempotent", "platform"}
MAIN_LINES = 60
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:work|root|home/(?!USER|\$))(?:/|\b)")


def name_of(path: Path) -> str:
    """Return what a part is called."""
    return path.stem


def text_of(path: Path) -> str:
    """Return the text of a file; one that is missing fails the test by its name."""
    assert path.is_file(), f"{path.relative_to(REPOSITORY)} is missing"
    return path.read_text(encoding="utf-8")


def yaml_of(path: Path) -> Any:
    """Return what a YAML file holds."""
    return yaml.safe_load(text_of(path))


@cache
def files() -> tuple[str, ...]:
    """Return the files of the project: those that Git tracks, and new ones that it does not ignore."""
    argv = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(argv, cwd=REPOSITORY, check=True, capture_output=True, text=True)
    names = [name for name in done.stdout.split("\0") if name and (REPOSITORY / name).is_file()]
    assert len(names) > 100, "the files of the project could not be listed"
    return tuple(sorted(names))


def constants(path: Path) -> dict[str, str]:
    """Return the texts that a module assigns to a name at its top, without running it."""
    return {
        node.targets[0].id: node.value.value
        for node in ast.parse(text_of(path)).body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    }


def documentation(path: Path, part: str = "DOCUMENTATION") -> Any:
    """Return one of the YAML texts of a module."""
    texts = constants(path)
    assert part in texts, f"{path.name} has no {part}"
    told = yaml.safe_load(texts[part])
    for fragment in told.get("extends_documentation_fragment", []) if part == "DOCUMENTATION" else []:
        source = importlib.import_module(f"{PLUGINS}.doc_fragments.{fragment.rpartition('.')[2]}")
        told["options"] |= yaml.safe_load(source.ModuleDocFragment.DOCUMENTATION)["options"]
    return told


def test_there_is_something_to_look_at() -> None:
    """An empty list would make every test below pass."""
    assert len(ROLES) >= 10
    assert len(MODULES) >= 8
    assert len(PLAYBOOKS) >= 2
    assert len(UTILITIES) > len(MODULES)


# Roles


@pytest.mark.parametrize("role", ROLES, ids=name_of)
def test_a_role_has_tasks_and_says_what_it_does(role: Path) -> None:
    assert yaml_of(role / "tasks/main.yml")
    spec = yaml_of(role / "meta/argument_specs.yml")["argument_specs"]["main"]
    assert spec["short_description"]
    assert spec["description"]
    assert spec["version_added"]
    assert yaml_of(role / "meta/main.yml")["galaxy_info"]["description"]


@pytest.mark.parametrize("role", ROLES, ids=name_of)
def test_the_options_of_a_role_are_its_defaults(role: Path) -> None:
    options = yaml_of(role / "meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    assert set(options) == set(yaml_of(role / "defaults/main.yml"))
    assert all(name.startswith(f"{role.name}_") for name in options)
    assert all(option.get("description") and option.get("type") for option in options.values())


@pytest.mark.parametrize("role", ROLES, ids=name_of)
def test_the_readme_of_a_role_names_every_option_and_what_holds(role: Path) -> None:
    text = text_of(role / "README.md")
    options = yaml_of(role / "defaults/main.yml")
    rows = set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))
    assert rows == set(options)
    for line in README_LINES:
        assert re.search(rf"^- \*\*{line}\*\*: (yes|no|partly|not needed)\b.{{10,}}$", text, re.MULTILINE), line


@pytest.mark.parametrize("role", ROLES, ids=name_of)
def test_the_runbook_names_the_role(role: Path) -> None:
    assert f"`{role.name}`" in text_of(RUNBOOK)


@pytest.mark.parametrize("role", [role for role in ROLES if role.name != "run"], ids=name_of)
def test_a_role_is_a_step_with_a_title_or_what_a_playbook_is_for(role: Path) -> None:
    steps = {step for playbook in PLAYBOOKS for step in steps_of(playbook)}
    alone = {name for playbook in PLAYBOOKS for name in imported_roles(playbook)}
    assert role.name in steps | alone
    assert (role.name in yaml_of(REPOSITORY / "roles/run/vars/main.yml")["_run_titles"]) is (role.name in steps)


# Playbooks


def steps_of(playbook: Path) -> list[str]:
    """Return the steps of a playbook, in their order; none of one that takes them from the journal."""
    plays = yaml_of(playbook)
    roles = [role for play in plays for role in play.get("roles", []) if isinstance(role["run_steps"], list)]
    stages = [steps for play in plays for steps in play.get("vars", {}).get("security_incident_stages", {}).values()]
    return [step for steps in [*(role["run_steps"] for role in roles), *stages] for step in steps]


def imported_roles(playbook: Path) -> list[str]:
    """Return the roles that a playbook imports or includes in its tasks."""
    tasks = [task for play in yaml_of(playbook) for task in play.get("tasks", [])]
    actions = ("ansible.builtin.import_role", "ansible.builtin.include_role")
    names = [task[action]["name"] for task in tasks for action in actions if action in task]
    return [name.removeprefix("usdx.rollback.") for name in names]


@pytest.mark.parametrize("playbook", PLAYBOOKS, ids=name_of)
def test_a_playbook_has_a_scenario_that_looks_at_the_machine(playbook: Path) -> None:
    scenario = REPOSITORY / "molecule" / SCENARIOS.get(playbook.stem, playbook.stem)
    assert yaml_of(scenario / "molecule.yml") is not None
    converge = text_of(scenario / "converge.yml") + text_of(REPOSITORY / "molecule/shared/operator.yml")
    assert playbook.name in converge or f"usdx.rollback.{playbook.stem}" in converge
    tests = list((scenario / "tests").glob("test_*.py"))
    assert any("def test_" in text_of(path) for path in tests), "no test looks at the machine"


@pytest.mark.parametrize("playbook", PLAYBOOKS, ids=name_of)
def test_a_playbook_has_a_section_in_the_runbook(playbook: Path) -> None:
    headings = re.findall(r"^#+ .*$", text_of(RUNBOOK), re.MULTILINE)
    assert any(f"{playbook.name}" in heading for heading in headings)


@pytest.mark.parametrize("playbook", PLAYBOOKS, ids=name_of)
def test_a_playbook_can_be_started_from_a_checkout(playbook: Path) -> None:
    (play,) = yaml_of(REPOSITORY / playbook.name)
    assert play["ansible.builtin.import_playbook"] == f"usdx.rollback.{playbook.stem}"


# Modules


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_a_module_is_documented(module: Path) -> None:
    told = documentation(module)
    assert told["module"] == module.stem
    assert told["version_added"]
    assert set(told["attributes"]) >= ATTRIBUTES
    assert all(attribute.get("support") and attribute.get("description") for attribute in told["attributes"].values())
    assert told["seealso"]
    assert all(option.get("description") for option in told["options"].values())
    returned = documentation(module, "RETURN")
    assert all(value.get("description") and value.get("type") for value in returned.values())
    assert "next_step" in returned


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_the_examples_of_a_module_use_options_that_exist(module: Path) -> None:
    options = set(documentation(module)["options"])
    tasks = [task for task in documentation(module, "EXAMPLES") if f"usdx.rollback.{module.stem}" in task]
    assert tasks
    for task in tasks:
        assert set(task[f"usdx.rollback.{module.stem}"]) <= options


class Spec(Exception):  # noqa: N818 - not an error, a way out of main()
    """The argument spec of a module."""


def border_of(module: Path) -> Path:
    """Return where a module meets Ansible: of one whose work is done on the controller, its action plugin."""
    return module if "AnsibleModule" in text_of(module) else REPOSITORY / "plugins/action" / module.name


def spec_of(module: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return what a module hands to ``AnsibleModule``, or its action plugin to ``Here``."""
    if border_of(module) != module:
        plugin = importlib.import_module(f"{PLUGINS}.action.{module.stem}").ActionModule
        return {"argument_spec": plugin.OPTIONS, "supports_check_mode": plugin._supports_check_mode}

    def keep(**options: Any) -> None:
        raise Spec(options)

    loaded = importlib.import_module(f"{PLUGINS}.modules.{module.stem}")
    monkeypatch.setattr(loaded, "AnsibleModule", keep)
    with pytest.raises(Spec) as caught:
        loaded.main()
    options: dict[str, Any] = caught.value.args[0]
    return options


def comparable(options: dict[str, Any], nested: str) -> dict[str, Any]:
    """Return options with what must be the same in documentation and argument spec."""
    return {
        name: {
            "type": option.get("type", "str"),
            "required": option.get("required", False),
            "default": option.get("default"),
            "choices": option.get("choices"),
            "elements": option.get("elements"),
            "options": comparable(option.get(nested) or {}, nested),
        }
        for name, option in options.items()
    }


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_the_options_of_a_module_are_its_argument_spec(module: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = spec_of(module, monkeypatch)
    assert comparable(documentation(module)["options"], "suboptions") == comparable(spec["argument_spec"], "options")
    support = documentation(module)["attributes"]["check_mode"]["support"]
    assert spec["supports_check_mode"] is (support == "full")


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_main_is_a_border(module: Path) -> None:
    border = border_of(module)
    functions = [node for node in ast.walk(ast.parse(text_of(border))) if isinstance(node, ast.FunctionDef)]
    (main,) = [node for node in functions if node.name == ("main" if border == module else "work")]
    assert (main.end_lineno or 0) - main.lineno + 1 <= MAIN_LINES


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_a_module_has_an_integration_test_that_calls_it(module: Path) -> None:
    text = text_of(REPOSITORY / f"tests/integration/test_{module.stem}.py")
    assert f'call_module("{module.stem}"' in text.replace("call_module(\n", "call_module(").replace("(        ", "(")
    assert "check" in text


def imported_utilities(path: Path) -> set[str]:
    """Return the modules of module_utils that a file imports, from anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(text_of(path))):
        if isinstance(node, ast.ImportFrom):
            source = node.module or ""
            direct = re.fullmatch(rf"(?:{re.escape(PLUGINS)}\.)?module_utils\.([\w.]+)", source)
            folder = re.fullmatch(rf"{re.escape(PLUGINS)}\.module_utils(\.\w+)?", source)
            inside = {f"{folder[1] or ''}.{alias.name}".strip(".") for alias in node.names} if folder else set()
            found |= inside | ({direct[1]} if direct else set())
    return found


@cache
def unit_tested() -> frozenset[str]:
    """Return the modules of module_utils that a unit test imports."""
    tests = [path for path in (REPOSITORY / "tests/unit").glob("test_*.py") if path != Path(__file__)]
    return frozenset(name for path in tests for name in imported_utilities(path))


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_the_logic_of_a_module_has_a_unit_test(module: Path) -> None:
    logic = imported_utilities(border_of(module)) - PLUMBING
    assert logic & unit_tested(), f"no unit test imports any of {sorted(logic)}"


# Action plugins


@pytest.mark.parametrize("plugin", sorted((REPOSITORY / "plugins/action").glob("*.py")), ids=name_of)
def test_an_action_plugin_belongs_to_a_module_that_says_so(plugin: Path) -> None:
    assert documentation(REPOSITORY / "plugins/modules" / plugin.name)["attributes"]["action"]["support"] == "full"


@pytest.mark.parametrize("utility", sorted((REPOSITORY / "plugins/plugin_utils").glob("*.py")), ids=name_of)
def test_the_logic_of_an_action_plugin_has_a_unit_test(utility: Path) -> None:
    tests = [text_of(path) for path in (REPOSITORY / "tests/unit").glob("test_*.py") if path != Path(__file__)]
    assert any(f"{PLUGINS}.plugin_utils.{utility.stem} import" in text for text in tests)


# Filters


def test_every_filter_is_documented_and_nothing_else_is() -> None:
    named: set[str] = set()
    for path in (REPOSITORY / "plugins/filter").glob("*.py"):
        loaded = importlib.import_module(f"{PLUGINS}.filter.{path.stem}")
        named |= set(loaded.FilterModule().filters())
    documents = {path.stem: yaml_of(path) for path in (REPOSITORY / "plugins/filter").glob("*.yml")}
    assert named
    assert set(documents) == named
    for name, document in documents.items():
        assert document["DOCUMENTATION"]["name"] == name
        assert document["DOCUMENTATION"]["description"]
        assert document["EXAMPLES"]
        assert document["RETURN"]["_value"]["description"]


# Every file


def test_every_file_says_its_licence() -> None:
    stated = re.search(r"^path = (\[.*\])$", text_of(REPOSITORY / "REUSE.toml"), re.MULTILINE)
    assert stated
    patterns = [pattern.replace("**", "*") for pattern in ast.literal_eval(stated[1])]
    without = [
        name
        for name in files()
        if not name.startswith("LICENSES/")
        and not any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
        and b"-".join((b"SPDX", b"License", b"Identifier: ")) not in (REPOSITORY / name).read_bytes()[:1000]
    ]
    assert without == []


@pytest.mark.parametrize("folder", ["plugins", "roles", "playbooks", "meta"])
def test_what_is_shipped_reads_nothing_that_is_not(folder: str) -> None:
    """Documents may point at an example; code may not."""
    shipped = [name for name in files() if name.startswith(f"{folder}/") and not name.endswith(".md")]
    assert shipped
    told = re.compile(r"(?<![\w/.])(?:tests|inventories|molecule)/|inventory_dir|playbook_dir")
    assert [name for name in shipped if told.search(text_of(REPOSITORY / name))] == []


def test_no_file_names_a_place_of_a_machine() -> None:
    """Only this file may, for it has to know them."""
    found = []
    for name in files():
        content = (REPOSITORY / name).read_bytes()
        if name != "tests/unit/test_completeness.py" and MACHINE_PATH.search(content.decode("utf-8", "replace")):
            found.append(name)
    assert found == []


def test_ansible_reads_every_file_of_tasks_and_has_nothing_to_say(tmp_path: Path) -> None:
    """A file that is included in the middle of a run and cannot be read ends Ansible there, with the lock and all."""
    tasks = [
        {"ansible.builtin.import_role": {"name": f"usdx.rollback.{path.parts[-3]}", "tasks_from": path.stem}}
        for path in sorted(REPOSITORY.glob("roles/*/tasks/*.yml"))
    ]
    assert len(tasks) > 60
    playbook = tmp_path / "all.yml"
    playbook.write_text(yaml.safe_dump([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]), "utf-8")
    argv = ["ansible-playbook", "--syntax-check", "--inventory", "localhost,", str(playbook)]
    done = subprocess.run(argv, cwd=REPOSITORY, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr.strip()) == (0, "")
