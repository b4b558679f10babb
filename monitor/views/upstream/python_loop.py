"""llama-cpp-python by hand: its own two ways of generating, in one small script that a stranger can read.

What the monitor's launcher does beside that (streaming, times, reports) is left out. The settings are those
of the launcher's order, so they cannot drift from what was measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monitor.engines.llama_cpp_python import SERIES

NAME = "serve.py"
WORDS = (
    "`baseline` is `Llama.generate`; `mtp` is the release's own `examples/server`, with one thing replaced: "
    f"`{NAME}` answers instead of its web server, so that both are asked the same."
)
READING = """    tokens, drafted, accepted = (answer[key] for key in ("tokens", "drafted", "accepted"))"""
"""Lines of `read.py`."""
WHERE = f"what `examples/server` counts as `{SERIES.drafted}` and `…_accepted_total`"


def script(order: Mapping[str, Any], variables: Mapping[str, str]) -> str:
    """Return the script that serves both arms.

    Args:
        order: what the launcher is told for the arm `mtp`: `llama` for the library, `model` for the example.
        variables: text in the order, a place of this machine → variable of the script that stands for it.

    """
    settings = {
        marker: _written(order[part], variables) for marker, part in (("LLAMA", "llama"), ("MODEL", "model"))
    }
    text = _SCRIPT
    for marker, written in settings.items():
        text = text.replace(f"{{{marker}}}", written)
    return text.replace("{DRAFTED}", SERIES.drafted).replace("{ACCEPTED}", SERIES.accepted)


def _written(settings: Mapping[str, Any], variables: Mapping[str, str]) -> str:
    lines = [
        f"    {name}={variables.get(value, repr(value)) if isinstance(value, str) else repr(value)},\n"
        for name, value in settings.items()
    ]
    return f"dict(\n{''.join(lines)})"


_SCRIPT = '''"""Serves llama-cpp-python: serve.py ARM MODEL PORT EXAMPLE [DRAFT]

baseline: Llama.generate. mtp: examples/server as it is; only its web server is replaced by the one below.
"""
import http.server
import importlib.util
import json
import re
import sys

import llama_cpp
from llama_cpp.llama_chat_format import Jinja2ChatFormatter

arm, model, port, example, *rest = sys.argv[1:]
draft = rest[0] if rest else ""
LLAMA = {LLAMA}
MODEL = {MODEL}
COUNTERS = ("{DRAFTED}", "{ACCEPTED}")


def tokens_of(library, asked):
    """The prompt's tokens; messages go through the model's own template."""
    if "prompt" in asked:
        return list(library.tokenize(asked["prompt"].encode(), add_bos=True, special=True))
    ends = {"eos_token": library.token_eos(), "bos_token": library.token_bos()}
    written = {name: library.detokenize([token], special=True).decode() for name, token in ends.items()}
    chat = Jinja2ChatFormatter(template=library.metadata["tokenizer.chat_template"], **written)
    more = {"tools": asked["tools"]} if "tools" in asked else {}
    prompt = chat(messages=asked["messages"], **more, **asked.get("chat_template_kwargs", {})).prompt
    return list(library.tokenize(prompt.encode(), add_bos=False, special=True))


def plain(library, asked, most):
    names = ("top_k", "top_p", "min_p", "repeat_penalty")
    sampling = {name: asked[name] for name in names if name in asked}
    if "temperature" in asked:
        sampling["temp"] = asked["temperature"]
    vocabulary = llama_cpp.llama_model_get_vocab(library.model)
    library.reset()
    text, count = b"", 0
    for token in library.generate(tokens_of(library, asked), **sampling):
        count += 1
        ended = not asked.get("ignore_eos") and llama_cpp.llama_vocab_is_eog(vocabulary, token)
        text += b"" if ended else library.detokenize([token])
        if ended or count == most:
            break
    return {"tokens": count, "drafted": 0, "accepted": 0, "content": text.decode(errors="replace")}


def drafting(library, module, asked, most):
    service = module.APP.state.service
    seen, handle = [], service.scheduler.handle_completion_token

    def note(completion, token, *rest, **named):
        seen.append(token)
        return handle(completion, token, *rest, **named)

    def counted():
        page = service.render_prometheus_metrics()
        found = [re.search(rf"(?m)^{name}(?:{{.*}})? (\\S+)", page) for name in COUNTERS]
        return [int(float(match[1])) if match else 0 for match in found]

    service.scheduler.handle_completion_token = note
    known = {name: asked[name] for name in ("temperature", "top_p", "seed") if name in asked}
    if asked.get("ignore_eos"):
        known["logit_bias"] = {str(library.token_eos()): float("-inf")}
    before = counted()
    prompt = tokens_of(library, asked)
    body = module.CreateCompletionRequest(prompt=prompt, max_tokens=most, stream=True, **known)
    text = "".join(chunk["choices"][0]["text"] for chunk in service.submit(body)[0])
    service.scheduler.handle_completion_token = handle
    drafted, accepted = (now - was for now, was in zip(counted(), before))
    return {"tokens": len(seen), "drafted": drafted, "accepted": accepted, "content": text}


def serve(answer):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.reply({"status": "ok"})

        def do_POST(self):
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.reply(answer(asked, int(asked.get("n_predict", asked.get("max_tokens", 16)))))

        def reply(self, document):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(document).encode())

    http.server.HTTPServer(("127.0.0.1", int(port)), Handler).serve_forever()


if arm == "baseline":
    library = llama_cpp.Llama(**LLAMA, verbose=False)
    serve(lambda asked, most: plain(library, asked, most))
else:
    place = importlib.util.spec_from_file_location("example_server", example)
    module = importlib.util.module_from_spec(place)
    sys.modules[place.name] = module
    place.loader.exec_module(module)
    vocabulary = llama_cpp.Llama(model, vocab_only=True, verbose=False)  # for its tokens alone
    module.uvicorn.run = lambda *_, **__: serve(lambda *asked: drafting(vocabulary, module, *asked))
    with open("example.json", "w") as file:
        json.dump({"model": MODEL}, file)
    sys.argv = [example, "--config-file", "example.json"]
    module.main()
'''
