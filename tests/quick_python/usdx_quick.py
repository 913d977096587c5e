# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make each Python of the tests start in less time, while all tests run.

``tests/test.sh`` sets ``USDX_COMPILED``; a file of ``.venv`` that ``tests/setup.sh`` writes then imports this when
Python starts. A Python that is to run a program from its standard input, as Ansible starts its modules, asks the server
of ``usdx_imported`` for a process that has imported already what modules import. Any other keeps what it compiles.

Written for the little time it takes: of the standard library it imports only what Python has loaded already.
"""

import os
import sys


def _program_of_standard_input() -> "int | None":
    """Let the server run the program, and return its exit code; none where this process has to run it."""
    import _signal  # noqa: PLC0415 - the others of the library cost more time than they save
    import _socket  # noqa: PLC0415
    import marshal  # noqa: PLC0415

    server = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    directory, given = -1, False
    signals = (_signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP)
    _signal.pthread_sigmask(_signal.SIG_BLOCK, signals)  # until they can be handed over
    try:
        directory = os.open(".", os.O_RDONLY)
        server.connect(os.environ["USDX_COMPILED"] + "/server")
        descriptors = b"".join(number.to_bytes(4, sys.byteorder) for number in (0, 1, 2, directory))
        server.sendmsg([b"."], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, descriptors)])
        words = marshal.dumps(dict(os.environ))
        server.sendall(len(words).to_bytes(4, "big") + words)
        if server.recv(1) != b"+":
            return None
        given = True
        for number in signals:
            _signal.signal(number, lambda received, _frame: server.send(bytes([received])))
        _signal.pthread_sigmask(_signal.SIG_UNBLOCK, signals)
        code = server.recv(1)
    except OSError:
        return 1 if given else None
    finally:
        _signal.pthread_sigmask(_signal.SIG_UNBLOCK, signals)
        server.close()
        if directory >= 0:
            os.close(directory)
    return code[0] if code else 1


def _quick() -> None:
    if sys.orig_argv[1:] in ([], ["-"]) and not os.isatty(0):
        code = _program_of_standard_input()
        if code is not None:
            os._exit(code)
    import usdx_compiled  # noqa: F401, PLC0415 - only where there is something to compile


_quick()
