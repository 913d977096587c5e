# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep, while all tests run, what Ansible else makes again for each task.

Ansible sends a module as an archive of sources. Each ``ansible-playbook`` packs the archives of its modules again, and
each process of a module compiles what is in them again. Each process of a task compiles the templates that it needs and
the plugins of collections again. Here all this is kept in the directory that ``USDX_COMPILED`` names.
``tests/test.sh`` makes it anew; a file of ``.venv`` that ``tests/setup.sh`` writes imports this.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import marshal
import os
import sys
import tempfile
import zipimport
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def keep_archives(directory: str) -> None:
    """Give each Ansible the same directory of packed modules, in place of one below its own temporary directory."""
    make = tempfile.mkdtemp

    @functools.wraps(make)
    def mkdtemp(suffix: Any = None, prefix: Any = None, dir: Any = None) -> Any:  # noqa: A002 - as it is called
        made = make(suffix, prefix, dir)
        if str(prefix).startswith("ansible-local-") and os.access(directory, os.W_OK):
            os.symlink(directory, os.path.join(made, "ansiballz_cache"))  # noqa: PTH118, PTH211
        return made

    tempfile.mkdtemp = mkdtemp


class Kept:
    """Code objects by what they were compiled from, in a directory."""

    def __init__(self, directory: str) -> None:
        """Name the directory."""
        self._directory = directory

    def get(self, what: str, source: bytes, compiled: Callable[[], Any]) -> Any:
        """Return the code of a source; ``what`` tells apart what is compiled in another way."""
        key = hashlib.sha256(f"{sys.version}\0{what}\0".encode() + source).hexdigest()
        kept = os.path.join(self._directory, key)  # noqa: PTH118 - pathlib would be imported by every Python
        with contextlib.suppress(OSError), open(kept, "rb") as file:  # noqa: PTH123
            return marshal.load(file)  # noqa: S302 - written here
        code = compiled()
        with contextlib.suppress(OSError):
            with open(f"{kept}.{os.getpid()}", "wb") as file:  # noqa: PTH123
                marshal.dump(code, file)
            os.replace(file.name, kept)  # noqa: PTH105
        return code


def keep_modules(kept: Kept) -> None:
    """Compile a source of an archive once."""
    compiler: Any = zipimport
    compile_source = compiler._compile_source

    def compiled(path: str, source: bytes) -> Any:
        return kept.get(path.rpartition(".zip/")[2], source, lambda: compile_source(path, source))

    compiler._compile_source = compiled


def keep_plugins(kept: Kept, module: Any) -> None:
    """Compile a plugin of a collection once; ``module`` is the loader of Ansible."""

    def compile_once(source: Any, filename: str, **options: Any) -> Any:
        return kept.get(filename, str(source).encode(), lambda: compile(source, filename, **options))

    module.compile = compile_once  # it stands before the built-in function


def keep_templates(kept: Kept, module: Any) -> None:
    """Compile a template, and a condition, once; ``module`` is the one of the environments of Jinja."""
    environment = module.Environment
    compile_template, compile_expression = environment.compile, environment.compile_expression
    of_expressions: list[list[Any]] = []

    def kind(of: Any) -> str:
        bits = sys.modules.get("ansible._internal._templating._jinja_bits")
        context = bits._TemplateCompileContext.current(optional=True) if bits else None
        delimiters = (of.variable_start_string, of.variable_end_string, of.block_start_string, of.block_end_string)
        others = (of.comment_start_string, of.comment_end_string, of.line_statement_prefix, of.line_comment_prefix)
        spaces = (of.trim_blocks, of.lstrip_blocks, of.newline_sequence, of.keep_trailing_newline)
        return repr(
            (type(of).__module__, type(of).__name__, context, delimiters, others, spaces, sorted(of.extensions))
        )

    def template_once(self: Any, source: Any, *place: Any, **options: Any) -> Any:
        def compiled() -> Any:
            return compile_template(self, source, *place, **options)

        if isinstance(source, str) and not any(place) and not any(options.values()):
            return kept.get("template " + kind(self), source.encode(), compiled)
        code = compiled()
        if of_expressions:
            of_expressions[-1].append(code)
        return code

    def expression_once(self: Any, source: str, undefined_to_none: bool = True) -> Any:  # noqa: FBT001, FBT002 - as it is called
        def compiled() -> Any:
            of_expressions.append([])
            try:
                compile_expression(self, source, undefined_to_none)
                return of_expressions[-1][0]
            finally:
                of_expressions.pop()

        code = kept.get("expression " + kind(self), source.encode(), compiled)
        template = self.template_class.from_code(self, code, self.make_globals(None))
        return module.TemplateExpression(template, undefined_to_none)

    environment.compile, environment.compile_expression = template_once, expression_once


class AfterImport:
    """Changes modules when they are imported, by their names."""

    def __init__(self, changes: dict[str, Callable[[Any], None]]) -> None:
        """Take the place before those who find modules."""
        self._changes = changes
        sys.meta_path.insert(0, self)

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """Answer for the modules that are changed only."""
        if name not in self._changes:
            return None
        spec: Any = PathFinder.find_spec(name, path, target)
        execute, change = spec.loader.exec_module, self._changes[name]

        def exec_module(module: Any) -> None:
            execute(module)
            change(module)

        spec.loader.exec_module = exec_module
        return spec


if place := os.environ.get("USDX_COMPILED"):
    keep_archives(os.path.join(place, "archives"))  # noqa: PTH118
    code = Kept(os.path.join(place, "bytecode"))  # noqa: PTH118
    keep_modules(code)
    AfterImport(
        {
            "ansible.utils.collection_loader._collection_finder": functools.partial(keep_plugins, code),
            "jinja2.environment": functools.partial(keep_templates, code),
        }
    )
