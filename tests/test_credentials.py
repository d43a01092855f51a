"""Keys reach no file: parameters that look like one are refused, and what a server prints is masked."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import servers
from servers import free_port

from maro_lib.credentials import key_problem
from maro_lib.model import Player
from maro_lib.model.server_process import ServerStartError, serving

PLANTED = {"MY_SERVERS": "planted-0-Qm9yZw==/+", "HF_TOKEN": "hf_PLANTED1aaaaaaaaaaaaaaaaaaaaaaaaaa",
           "OPENAI_API_KEY": "sk-planted2-0123456789abcdef", "AWS_SECRET_ACCESS_KEY": "planted3planted3"}  # fmt: skip
KEYS = [
    "HF_TOKEN={} vllm serve x", "my_password={} serve", "API_KEY_2={} serve", "API_KEY_PROD={} serve",
    "vllm serve x --api-key {}", "vllm serve x --api-key={}", "serve --hf-token '{}'", "serve --password {}",
    "serve --header 'Authorization: Bearer {}'", "serve --header 'X-Api-Key: {}'", 'serve --more \'{{"token": "{}"}}\'',
    "https://user:{}@host/x", "https://{}@host", "http://host/v1?api_key={}",
]  # fmt: skip
NO_KEYS = [
    "vllm serve Qwen/Qwen2.5-7B-Instruct --port 8000 --max-num-batched-tokens 8192 --tokenizer-mode auto",
    "TOKENIZERS_PARALLELISM=false HF_TOKEN=$OTHER serve --api-key $NAME --api-key=${NAME} --max-tokens=7",
    "llama-server --override-kv tokenizer.ggml.add_bos_token=bool:false --api-key-file keys.txt --ssl-key-file a.pem",
    "http://localhost:8000/v1", "owner/hf_model-7b", "git@host:x", "HF_TOKEN_PATH=/x serve", 'python -c "print(1)"',
]  # fmt: skip


def run(tmp_path: Path, text: str, *options: str) -> subprocess.CompletedProcess:
    (tmp_path / "x.yaml").write_text(f"run: x\n{text}\n")
    command = [sys.executable, "-m", "maro_lib", "run", "x.yaml", *options]
    environment = os.environ | PLANTED | {"MARO_OUTPUTS": str(tmp_path / "outputs"), "KEYWORD": "shown"}
    return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("text", [t.format("hunter2hunter2") for t in KEYS] + [*PLANTED.values()][1:3])
def test_what_looks_like_a_key_is_refused_and_not_shown(text):
    problem = key_problem("server_command", text)
    assert "`server_key_env: NAME`" in problem
    assert "hunter2" not in problem
    assert key_problem("evals", ["x", text]) == problem
    with pytest.raises(ValueError, match="server_command looks like a key") as error:  # as in JupyterLab
        Player(server_url="http://localhost:1", server_command=text)
    assert text not in str(error.value)


@pytest.mark.parametrize("text", NO_KEYS)
def test_what_is_no_key_is_not_refused(text):
    assert not key_problem("server_command", text)


@pytest.mark.parametrize("text", ["sk-0123456789abcdef", "hunter2", "two words", PLANTED["MY_SERVERS"]])
def test_a_key_in_the_place_of_its_name_is_refused(text):
    problem = key_problem("server_key_env", text)
    assert "must be the name" in problem
    assert text not in problem
    assert not key_problem("server_key_env", "OPENAI_API_KEY")


def test_a_refused_key_is_shown_nowhere_and_leaves_nothing(tmp_path):
    command = f"server_url: http://localhost:1\nserver_command: vllm serve x --api-key {PLANTED['MY_SERVERS']}"
    lines = [command, f"n_games: {PLANTED['HF_TOKEN']}", f"api_key: {PLANTED['MY_SERVERS']}"]
    for done in (*(run(tmp_path, line) for line in lines), run(tmp_path, "", "--set", f"model={PLANTED['HF_TOKEN']}")):
        assert done.returncode == 1
        assert not [key for key in PLANTED.values() if key in done.stdout + done.stderr]
        assert not (tmp_path / "outputs").exists()


def decoded(path: Path) -> str:
    """What a file holds: its bytes, and the text that they pack."""
    data = path.read_bytes()
    more = str(pq.read_table(path).to_pylist()) if path.suffix == ".parquet" else ""
    more += json.dumps(json.loads(data), ensure_ascii=False) if path.suffix in (".json", ".ipynb") else ""
    return data.decode("latin-1") + more


def test_no_file_of_a_run_holds_a_key_of_the_environment(tmp_path):
    port = free_port()
    words = f"{port} --talk --api-key $MY_SERVERS --name=$AWS_SECRET_ACCESS_KEY"
    set_to = {"server_url": f"http://127.0.0.1:{port}", "server_key_env": "MY_SERVERS", "model": "m", "n_games": 2,
              "server_command": f"{sys.executable} {servers.__file__} {words}", "register": "prose", "n_scripts": 1,
              "n_compare": 4}  # fmt: skip
    done = run(tmp_path, "\n".join(f"{name}: {value}" for name, value in set_to.items()), "--only", "02")
    files = [path for path in (tmp_path / "outputs").rglob("*") if path.is_file()]
    assert done.returncode == 0, done.stderr
    log = (tmp_path / "outputs" / "x" / "server.log").read_text()
    assert log.count("[key]") >= 6, "variables and words of the command, each masked"
    assert "KEYWORD shown" in log
    assert {"server.log", "summary.json", "report.html", "02_rollout.ipynb"} <= {path.name for path in files}
    assert any(path.suffix == ".parquet" for path in files)
    assert [(path.name, name) for path in files for name, key in PLANTED.items() if key in decoded(path)] == []


def test_the_end_of_a_log_shows_no_key_even_one_that_is_cut_in_two(tmp_path, monkeypatch):
    monkeypatch.setenv("MY_SERVERS", PLANTED["MY_SERVERS"])
    talk = f"import os, sys; sys.exit('x' * {2**16 - 7} + os.environ['MY_SERVERS'] + ' ' + sys.argv[1])"
    command = f'{sys.executable} -c "{talk}" $MY_SERVERS'
    with pytest.raises(ServerStartError) as error, serving(command, f"http://127.0.0.1:{free_port()}",
                                                           log=tmp_path / "log", keys=["MY_SERVERS"]):  # fmt: skip
        pass
    assert str(error.value).endswith("x[key] [key]")
    assert PLANTED["MY_SERVERS"][:12] not in (tmp_path / "log").read_text()


def test_a_variable_that_is_not_set_is_named(tmp_path):
    with pytest.raises(ServerStartError, match="the environment variable NO_SUCH_KEY is not set"), \
            serving("serve --api-key=$NO_SUCH_KEY", "http://127.0.0.1:1", log=tmp_path / "log"):  # fmt: skip
        pass
