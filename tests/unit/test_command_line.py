"""Command lines of servers as people keep them."""

from __future__ import annotations

import pytest

from monitor.engines.command_line import read_command
from monitor.errors import UnknownNameError


@pytest.mark.parametrize(
    ("text", "server", "arguments", "variables"),
    [
        ("llama-server -m a.gguf -c 10", "llama-server", ["-m", "a.gguf", "-c", "10"], {}),
        ("/opt/x/llama-server.exe -m 'my model.gguf'", "llama-server", ["-m", "my model.gguf"], {}),
        ("llama serve -m a", "llama-server", ["-m", "a"], {}),
        ("./llama-server \\\n  -m a \\\r\n  -np 1", "llama-server", ["-m", "a", "-np", "1"], {}),
        ("llama-server\n  -m a\n  -np 1\n", "llama-server", ["-m", "a", "-np", "1"], {}),
        ("$ llama-server -m a  # the small one", "llama-server", ["-m", "a"], {}),
        ("ExecStart=/usr/bin/llama-server -m a", "llama-server", ["-m", "a"], {}),
        ("A=1 B='2 3' llama-server -m a", "llama-server", ["-m", "a"], {"A": "1", "B": "2 3"}),
        ("export A=1; cd /x && llama-server -m a", "llama-server", ["-m", "a"], {"A": "1"}),
        ("sudo env A=1 nice -n 5 llama-server -m a", "llama-server", ["-m", "a"], {"A": "1"}),
        ("llama-server -m a > log 2>&1 & disown", "llama-server", ["-m", "a"], {}),
        ("llama-server -m a | tee log", "llama-server", ["-m", "a"], {}),
        ("llama-server -m $MODEL -c $(nproc)", "llama-server", ["-m", "$MODEL", "-c", "$SUBSTITUTED"], {}),
        (
            "docker run --gpus all -e A=1 --env=B=2 -p 1:1 ghcr.io/ggml-org/llama.cpp:server-cuda -m /a",
            *("llama-server", ["-m", "/a"], {"A": "1", "B": "2"}),
        ),
        (
            "docker run ghcr.io/ggml-org/llama.cpp:full-cuda --server -m /a",
            *("llama-server", ["-m", "/a"], {}),
        ),
        ("vllm serve m --max-model-len 3000", "vllm", ["m", "--max-model-len", "3000"], {}),
        (
            """python -m vllm.entrypoints.openai.api_server --model m -sc '{"method": "mtp"}'""",
            *("vllm", ["--model", "m", "-sc", '{"method": "mtp"}'], {}),
        ),
        ("docker run vllm/vllm-openai:v0.33.0 --model m", "vllm", ["--model", "m"], {}),
        ("VLLM_USE_DEEP_GEMM=0 uv run vllm serve m", "vllm", ["m"], {"VLLM_USE_DEEP_GEMM": "0"}),
    ],
)
def test_a_command_is_read_as_a_shell_would_read_it(
    text: str, server: str, arguments: list[str], variables: dict[str, str]
) -> None:
    command = read_command(text)
    assert (command.server, list(command.arguments), dict(command.variables)) == (
        server,
        arguments,
        variables,
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "starts neither"),
        ("ls -l", "starts neither"),
        ("llama-server -m 'a", "cannot be taken apart"),
        ("python -m llama_cpp.server --model a", "the server of llama-cpp-python"),
        ("llama-cli -m a", "starts llama-cli"),
        ("llama-server \0", "no command line"),
        ("x" * 200_000, "no command line"),
    ],
)
def test_what_starts_no_known_server_is_refused_with_a_reason(text: str, said: str) -> None:
    with pytest.raises(UnknownNameError, match=said):
        read_command(text)
