"""Runs the provider's client once for each line of the input, and imports it only once: the import
takes more than a second.

    client.py SCRIPT

SCRIPT is the installed `prime`; the Python of its first line runs this file. A line of the input is a
call, with tabs between its fields: the working folder, `PRIME_TEAM_ID` and the arguments. A call runs
in a process of its own, forked after the import, beside other calls. Its home is the folder `home` in
its working folder, its input is empty, its output goes to the file `out`, and its exit code to the FIFO
`code`. At the end of the input, running calls are killed.

The client behaves as in a process that imports it anew: the import starts no thread, opens no
connection, and reads only environment variables that all calls share, and `HOME` for the default path
of an SSH key, which no command on images uses.
"""

import functools
import gc
import os
import runpy
import signal
import sys

import httpcore  # noqa: F401 (imported by the client with its first request)
import prime_cli.main
import typer.main


def main() -> None:
    os.setpgid(0, 0)
    script = sys.argv[1]
    calls = open(os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    # The tree of commands, which depends on nothing but the code, takes as long as a call.
    typer.main.get_command = functools.cache(typer.main.get_command)
    typer.main.get_command(prime_cli.main.app)
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in calls:
        if os.fork() > 0:
            continue
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        folder, team, *arguments = line.rstrip("\n").split("\t")
        call = os.fork()
        if call == 0:
            os.chdir(folder)
            os.environ.update(HOME=os.path.join(folder, "home"), PRIME_TEAM_ID=team)
            os.dup2(os.open("out", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
            os.dup2(1, 2)
            sys.argv[1:] = arguments
            return runpy.run_path(script, run_name="__main__")
        _, status = os.waitpid(call, 0)
        with open(os.path.join(folder, "code"), "w") as code:
            code.write(f"{os.waitstatus_to_exitcode(status) % 256}\n")
        os._exit(0)
    os.killpg(0, signal.SIGTERM)


main()
