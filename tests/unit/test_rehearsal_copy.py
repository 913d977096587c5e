# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the copy of a rehearsal is made of: nothing of it may reach production for writing."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.usdx.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.usdx.rollback.plugins.module_utils.rehearsal_copy import (
    Place,
    Plan,
    addresses,
    answering,
    behind,
    described,
    endpoint_places,
    refuse_unsafe,
    rehearsed_endpoints,
    release_images,
    unanswered,
)

ROOT = Path(__file__).parents[2]
RUN = "20261124T150405Z-3f9a"
PLAN = Plan(RUN, "shop", ("web", "worker", "ledger"), ("web", "worker"), subnets={"default": "172.30.0.0/24"},
            hosts=("shop.example.com",))  # fmt: skip
CONFIG: dict[str, Any] = {
    "name": "shop",
    "services": {
        "web": {
            "build": {"context": "/srv/shop/web", "tags": ["shop-web:latest"], "cache_to": ["type=registry,ref=x"]},
            "container_name": "shop-web",
            "restart": "always",
            "ports": [{"target": 80, "published": "8080", "host_ip": "0.0.0.0", "protocol": "tcp"}],  # noqa: S104
            "networks": {"default": None, "proxy": {"aliases": ["shop"], "ipv4_address": "10.0.0.7"}},
            "labels": {"traefik.enable": "true", "team": "shop"},
            "logging": {"driver": "gelf"},
            "deploy": {"replicas": 3, "resources": {"limits": {"memory": "256m", "cpus": "0.5"}}},
            "depends_on": {"ledger": {"condition": "service_healthy"}, "mailer": {"condition": "service_started"}},
            "extra_hosts": ["host.docker.internal=host-gateway", "a=192.0.2.1"],
            "environment": {"DB": "ledger", "HOOKS": "on"},
            "volumes": [
                {"type": "bind", "source": "/srv/shop/nginx.conf", "target": "/etc/nginx.conf", "read_only": True},
                {"type": "bind", "source": "/srv/uploads", "target": "/uploads"},
                {"type": "bind", "source": "/etc/letsencrypt", "target": "/tls", "read_only": True},
                {"type": "bind", "source": "/etc/localtime", "target": "/etc/localtime"},
                {"type": "bind", "source": "/var/run/docker.sock", "target": "/docker.sock", "read_only": True},
                {"type": "bind", "source": "/run", "target": "/host", "read_only": True},
            ],
        },
        "worker": {"image": "shop/worker:2.4.0", "networks": {"default": None}},
        "ledger": {
            "image": "postgres:16",
            "volumes": [{"type": "volume", "source": "data", "target": "/var/lib/postgresql/data"}],
        },
        "mailer": {"image": "mailer", "network_mode": "host"},
    },
    "networks": {"default": {"name": "shop_default"}, "proxy": {"name": "proxy", "external": True}},
    "volumes": {
        "data": {"name": "shop_data", "external": True},
        "nfs": {"driver_opts": {"type": "nfs", "device": ":/exports/shop"}},
    },
}
KINDS = {"/srv/shop/nginx.conf": "file", "/etc/localtime": "file", "/var/run/docker.sock": "other"}


def look(path: str) -> str:
    """Say what a path is, as the host would."""
    return KINDS.get(path, "directory")


def copied(plan: Plan = PLAN, place: Place = Place("/srv/shop", "/srv/shop")) -> tuple[dict[str, Any], list[str]]:  # noqa: B008
    """Return the copy of the project above."""
    return described(CONFIG, plan, place, dict.fromkeys(plan.services, "image:1"), look)


def test_the_copy_shares_no_name_no_port_and_no_volume_with_production() -> None:
    made, _notes = copied()
    web = made["services"]["web"]
    assert not {"ports", "container_name", "logging", "deploy"} & web.keys()
    assert web["restart"] == "no"
    assert made["name"] == "shop-rehearsal-3f9a"
    assert {one["name"] for one in made["networks"].values()} == {
        "shop-rehearsal-3f9a_default", "shop-rehearsal-3f9a_proxy",
    }  # fmt: skip
    assert all(one["internal"] and "external" not in one for one in made["networks"].values())
    assert all(one["name"].startswith("shop-rehearsal-3f9a_") and set(one) == {"name", "labels"}
               for one in made["volumes"].values())  # fmt: skip
    assert web["networks"]["proxy"] == {"aliases": ["shop"]}
    assert {one["labels"]["usdx.rollback.rehearsal.of"] for one in made["services"].values()} == {"shop"}
    assert "traefik.enable" not in web["labels"]
    assert web["extra_hosts"] == ["a=192.0.2.1"]
    assert web["build"] == {"context": "./web"}


def test_nothing_outside_of_the_checkout_is_mounted_for_writing() -> None:
    made, notes = copied()
    mounts = {one["target"]: one for one in made["services"]["web"]["volumes"]}
    assert {target: one["type"] for target, one in mounts.items()} == {
        "/etc/nginx.conf": "bind", "/uploads": "volume", "/tls": "bind", "/etc/localtime": "bind",
    }  # fmt: skip
    assert mounts["/etc/nginx.conf"]["source"] == "./nginx.conf"
    assert mounts["/tls"]["read_only"]
    assert mounts["/etc/localtime"]["read_only"]
    assert any("/uploads is empty" in note for note in notes)
    assert sum("leads out of the copy" in note for note in notes) == 2
    current, _notes = copied(place=Place("/srv/shop", "/srv/shop", "/tmp/copy/project"))  # noqa: S108
    assert current["services"]["web"]["volumes"][0]["source"] == "/tmp/copy/project/nginx.conf"  # noqa: S108


def test_production_goes_first_and_its_limits_hold_unless_others_are_given() -> None:
    web = copied()[0]["services"]["web"]
    assert (web["cpu_shares"], web["oom_score_adj"]) == (512, 1000)
    assert (web["mem_limit"], web["cpus"]) == ("256m", 0.5)
    smaller = Plan(RUN, "shop", ("web",), ("web",), memory="128m", cpus=0.25, environment={"HOOKS": "$off"})
    web = copied(smaller)[0]["services"]["web"]
    assert (web["mem_limit"], web["cpus"]) == ("128m", 0.25)
    assert web["environment"] == {"DB": "ledger", "HOOKS": "$$off"}
    assert web.get("depends_on", {}) == {}


def test_outbound_is_said_or_it_is_not() -> None:
    open_plan = Plan(RUN, "shop", ("web",), ("web",), outbound=True)
    assert [one["internal"] for one in copied(open_plan)[0]["networks"].values()] == [False, False]


@pytest.mark.parametrize(
    "danger",
    [
        {"network_mode": "host"}, {"network_mode": "container:shop-web"}, {"privileged": True}, {"pid": "host"},
        {"ipc": "host"}, {"devices": ["/dev/sda"]}, {"external_links": ["other"]}, {"volumes_from": ["container:x"]},
    ],
)  # fmt: skip
def test_what_reaches_the_host_is_refused_by_name(danger: dict[str, Any]) -> None:
    with pytest.raises(RollbackError) as caught:
        refuse_unsafe({"services": {"web": {"image": "x"}, "spy": danger}}, ["web", "spy"])
    assert "spy (" in caught.value.msg
    assert "rollback_rehearsal_leave_out: [spy]" in caught.value.next_step
    refuse_unsafe({"services": {"web": {"image": "x", "network_mode": "service:spy"}, "spy": danger}}, ["web"])


def test_images_of_the_copy_have_names_of_their_own_and_one_that_must_be_pulled_keeps_its() -> None:
    here = {"shop-web", "postgres:16"}
    images, names = release_images(CONFIG, PLAN, lambda name: name in here)
    assert images["web"] == "usdx-rehearsal/shop-rehearsal-3f9a/shop-web:latest"
    assert images["worker"] == "shop/worker:2.4.0"
    assert names["shop-web"] == images["web"]
    assert all(name.startswith("usdx-rehearsal/shop-rehearsal-3f9a/") for name in names.values())


HERE = ("203.0.113.9", "shop.example.com", "2001:db8::9")
BOUND: dict[str, Any] = {
    "services": {
        "web": {"ports": [{"target": 80, "published": "8080", "host_ip": "192.0.2.7"}]},
        "local": {"ports": [{"target": 81, "published": "8080", "host_ip": "127.0.0.1"}]},
        "all": {"ports": [{"target": 82, "published": "8082"}]},
        "six": {"ports": [{"target": 83, "published": "8083", "host_ip": "::"}]},
    }
}


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("http://192.0.2.7:8080", ("web", 80)),
        ("http://127.0.0.1:8080", ("local", 81)),
        ("http://localhost:8080", ("local", 81)),
        ("http://LOCALHOST.:8082", ("all", 82)),
        ("http://[::1]:8082", ("all", 82)),
        ("http://[2001:DB8:0::9]:8083", ("six", 83)),
        ("http://203.0.113.9:8082", ("all", 82)),
        ("https://Shop.Example.com:8082", ("all", 82)),
        ("http://local:81", ("local", 81)),
        ("http://elsewhere.example.com:8082", None),
        ("http://198.51.100.1:8082", None),
        ("http://elsewhere.example.com:8080", None),
        ("http://203.0.113.9:9999", None),
        ("http:///path", None),
    ],
)
def test_a_place_of_another_host_is_not_answered_by_the_copy(url: str, found: tuple[str, int] | None) -> None:
    assert behind(url, BOUND, BOUND["services"], HERE) == found


def test_an_address_that_a_port_is_published_on_is_this_host() -> None:
    assert behind("http://192.0.2.7:8082", BOUND, BOUND["services"], ()) == ("all", 82)


def test_a_name_of_this_host_leads_to_the_port_whatever_address_it_is_published_on() -> None:
    """Which of its addresses a name leads to is not asked for, so any of this host counts."""
    config = {"services": {"web": {"ports": [{"target": 80, "published": "80", "host_ip": "192.0.2.7"}]}}}
    assert behind("http://shop.example.com/", config, ["web"], HERE) == ("web", 80)


ENDPOINTS: list[dict[str, Any]] = [
    {"url": "http://127.0.0.1:8080/health?deep=1", "version_query": "version", "p95": 300},
    {"url": "https://user:secret@shop.example.com:8080/", "headers": {"X-Key": "k"}},
    {"url": "http://elsewhere.example.com:9999/"},
    {"url": "http://worker:7000/"},
]


def test_what_the_copy_cannot_answer_for_is_said_with_and_without_addresses() -> None:
    nowhere = "http://elsewhere.example.com:9999"
    places = ["http://127.0.0.1:8080", nowhere]
    assert unanswered(CONFIG, PLAN, [nowhere]) == [nowhere], "also when it is the only one"
    assert unanswered(CONFIG, Plan(**{**PLAN.__dict__, "subnets": {}}), places) == [nowhere], "as for check mode"
    addressed = Plan(**{**PLAN.__dict__, "addresses": addresses(CONFIG, PLAN, places)})
    assert unanswered(CONFIG, addressed, places) == [nowhere]
    assert unanswered(CONFIG, PLAN, places) == places, "networks without an address for it"


def test_two_folders_of_the_same_name_are_two_volumes() -> None:
    config = copy.deepcopy(CONFIG)
    sources = ["/srv/a/data", "/srv/b/data"]
    config["services"]["web"]["volumes"] = [
        {"type": "bind", "source": source, "target": f"/{number}"} for number, source in enumerate(sources)
    ]
    made, _notes = described(config, PLAN, Place("/srv/shop", "/srv/shop"), dict.fromkeys(PLAN.services, "i"), look)
    assert len({one["source"] for one in made["services"]["web"]["volumes"]}) == 2


def test_endpoints_are_asked_at_the_addresses_of_the_copy() -> None:
    places = endpoint_places(ENDPOINTS)
    assert "secret" not in json.dumps(places)
    given = addresses(CONFIG, PLAN, places)
    assert given == {"web": ("default", "172.30.0.254"), "worker": ("default", "172.30.0.253")}
    plan = Plan(**{**PLAN.__dict__, "addresses": given})
    answers = answering(CONFIG, plan, places)
    assert answers["http://127.0.0.1:8080"] == "172.30.0.254:80"
    assert answers["http://worker:7000"] == "172.30.0.253:7000"
    assert "http://elsewhere.example.com:9999" not in answers
    local, named, worker = rehearsed_endpoints(ENDPOINTS, answers)
    assert local["url"] == "http://172.30.0.254:80/health?deep=1"
    assert "p95" not in local
    assert local["timeout"] == 30
    assert named["url"] == "https://user:secret@172.30.0.254:80/"
    assert named["headers"] == {"Host": "shop.example.com:8080", "X-Key": "k"}
    assert named["validate_certs"] is False
    assert "secret" not in named["name"]
    assert worker["url"].startswith("http://172.30.0.253:7000")
    made, _notes = described(CONFIG, plan, Place("/srv/shop", "/srv/shop"), dict.fromkeys(plan.services, "i"), look)
    assert made["services"]["web"]["networks"]["default"] == {"ipv4_address": "172.30.0.254"}


# The vocabulary of the inventory. Whoever adds a variable decides here what a rehearsal does with it.
AS_IN_PRODUCTION = {
    "approvers", "backup_directory", "backup_pattern", "backup_time_zone", "build_timeout", "cleanup_keep",
    "cleanup_min_age_hours", "controller_directory", "database", "database_verify_queries", "decision_matrix",
    "grace_periods", "leftovers", "local_edits", "log_error_limit", "log_errors", "log_noise", "migration_down",
    "migration_down_to", "migration_service", "migration_status", "migration_timeout", "migrations_reversible",
    "on_kill", "package_json", "proxy_reload", "pull", "release_migrations", "remote", "rolling_services",
    "rolling", "rolling_settle", "untracked_files", "verify_max_failed", "verify_requests", "verify_signature",
}  # fmt: skip
# Nothing that is rehearsed reads them.
NOT_READ = re.compile(
    "guard_|maintenance_|evidence_|assessment_|security_|follow_up_|issue_|cleanup_keep_releases|credentials_|diagnosis_|"
    "time_url|monitor_(?!seconds)|alerts$|messages$|rehearsal_"
)


def test_every_variable_of_the_inventory_is_decided_about() -> None:
    page = (ROOT / "docs" / "your_project.md").read_text(encoding="utf-8")
    rows = set(re.findall(r"^\| `rollback_([a-z0-9_]+)` \|", page, flags=re.MULTILINE))
    (task,) = yaml.safe_load((ROOT / "roles/rehearse/tasks/roll_back.yml").read_text(encoding="utf-8"))
    said = {name.removeprefix("rollback_") for name in task["vars"] if name.startswith("rollback_")}
    assert len(said) > 25
    assert not said & AS_IN_PRODUCTION
    assert {name for name in rows - said - AS_IN_PRODUCTION if not NOT_READ.match(name)} == set()


def test_what_the_copy_is_told_is_checked_before_it_is_rolled_back() -> None:
    """A variable that is typed is stronger; so what could lead to production, or tell people, is compared."""
    told = yaml.safe_load((ROOT / "roles/rehearse/tasks/roll_back.yml").read_text(encoding="utf-8"))[0]["vars"]
    first = yaml.safe_load((ROOT / "roles/rehearse/tasks/run.yml").read_text(encoding="utf-8"))[0]
    compared = " ".join(first["ansible.builtin.assert"]["that"])
    harmless = {
        "rollback_one_shot_services", "rollback_release_variables", "rollback_restore_options", "rollback_approvals",
        "rollback_dependencies", "rollback_diagnose", "rollback_rehearsal_max_age", "rollback_verify_p95",
        "rollback_start_timeout", "rollback_verify_timeout", "rollback_verify_requests_timeout",
    }  # fmt: skip
    names = {name for name in told if name.startswith("rollback_")} - harmless
    assert {name for name in names if name not in compared} == set()


def test_the_role_keeps_all_that_it_is_given_before_the_words_mean_the_copy() -> None:
    defaults = yaml.safe_load((ROOT / "roles/rehearse/defaults/main.yml").read_text(encoding="utf-8"))
    tasks = [
        task
        for file in ("main", "plan")
        for task in yaml.safe_load((ROOT / f"roles/rehearse/tasks/{file}.yml").read_text(encoding="utf-8"))
    ]
    kept, of_the_release = (
        next(task["ansible.builtin.set_fact"] for task in tasks if name in task["name"])
        for name in ("Keep what holds", "Keep what names the release")
    )
    assert set(of_the_release) == {"rehearse_release_variables"}, "they may be made of what only a run knows"
    assert {*kept, *of_the_release} == set(defaults)
    assert set(kept).isdisjoint(of_the_release)


def test_what_was_typed_for_a_rehearsal_is_pinned_for_its_copy() -> None:
    """A question of AWX that was left empty is a variable with an empty text, and stronger than any variable here."""
    copied = yaml.safe_load((ROOT / "roles/rehearse/tasks/roll_back.yml").read_text(encoding="utf-8"))[0]["vars"]
    asked = yaml.safe_load((ROOT / "roles/rehearse/vars/main.yml").read_text(encoding="utf-8"))["_rehearse_inputs"]
    typed = yaml.safe_load((ROOT / "roles/run/vars/main.yml").read_text(encoding="utf-8"))["_run_inputs_of_all"]
    assert len(asked) > 5
    assert set(asked) <= set(copied["run_pinned"])
    assert set(typed) & set(copied) == set()
