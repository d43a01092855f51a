"""The doctor: what will not work is a problem before the run, and estimates are those worked out by hand."""

import itertools
import json
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest
from servers import Server, free_port

from maro_lib.__main__ import main
from maro_lib.model import estimates
from maro_lib.model.adapter_files import ORIGIN, WEIGHTS
from maro_lib.model.estimates import Memory, Plan, Shape, Speed, Weights
from maro_lib.model.loading import EMBEDDED, STUDY_ADAPTER
from maro_lib.model.players import Player
from maro_lib.play.rollout import play, schedule
from maro_lib.play.shards import read_table
from maro_lib.run import stages
from maro_lib.run.arrangement import find_notebooks
from maro_lib.run.fit import Timing, check_context, check_memory, check_reuse, check_training, play_some
from maro_lib.run.machine import check_bitsandbytes, check_disk, check_packages, measure_speed
from maro_lib.run.models import FoundModel, check_adapter, check_model, check_template
from maro_lib.run.parameters import declared, effective
from maro_lib.run.sample import Sample, scripts_of
from maro_lib.runs import ROOT
from maro_lib.wording import GB, duration
from maro_lib.world.mystery import Rules

QWEN_7B, LLAMA_8B = Weights(6_525_288_448, 1_090_328_064), Weights(6_979_321_856, 1_050_939_392)
QWEN_SHAPE = Shape(28, 3584, 18_944, 4, 128, 152_064, 32_768, 28)
LLAMA_SHAPE = Shape(32, 4096, 14_336, 8, 128, 128_256, 131_072, 32)
CPU = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
SMALL = "n_games: 2\nn_scripts: 2\ncharacters: 4\nplaces: 2\nclues: 3\nred_herrings: 1\nrounds: 1\nconcurrency: 2\n"


@pytest.fixture(autouse=True)
def no_hub(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture
def ask(tmp_path, monkeypatch, capsys):
    """Ask the doctor about parameters; return the exit code and its findings by check."""
    monkeypatch.setenv("MARO_OUTPUTS", str(tmp_path / "outputs"))

    def asked(text: str) -> tuple[int, dict[str, str]]:
        path = tmp_path / "x.yaml"
        path.write_text(text if text.startswith("run:") else "run: x\n" + text)
        code = main(["doctor", str(path)])
        lines = capsys.readouterr().out.splitlines()[1:]
        return code, {line.split()[1]: line for line in lines if line.split()[0] in ("ok", "warning", "problem")}

    return asked


def qwen_7b():
    from transformers import Qwen2Config

    return Qwen2Config(
        hidden_size=3584, num_hidden_layers=28, num_attention_heads=28, num_key_value_heads=4,
        intermediate_size=18_944, vocab_size=152_064, max_position_embeddings=32_768, tie_word_embeddings=False,
        architectures=["Qwen2ForCausalLM"],
    )  # fmt: skip


def llama_8b():
    from transformers import LlamaConfig

    return LlamaConfig(
        hidden_size=4096, num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=8,
        intermediate_size=14_336, vocab_size=128_256, max_position_embeddings=131_072, tie_word_embeddings=False,
    )  # fmt: skip


def sample(first=700, longest=2500, at_most=9000):
    return Sample(6, 57, first, longest, (longest + at_most) // 2, at_most, 10**6, "by hand")


# --- the arithmetic ----------------------------------------------------------------------------------


def test_weights_and_shapes_of_known_models():
    assert estimates.count_weights(qwen_7b()) == QWEN_7B  # 7,615,616,512 together, as its card says
    assert estimates.count_weights(llama_8b()) == LLAMA_8B  # 8,030,261,248
    assert (estimates.shape(qwen_7b()), estimates.shape(llama_8b())) == (QWEN_SHAPE, LLAMA_SHAPE)


def test_tied_embeddings_are_counted_once():
    config = qwen_7b()
    config.tie_word_embeddings = True
    assert estimates.count_weights(config) == Weights(6_525_288_448, 1_090_328_064 - 544_997_376)


@pytest.mark.parametrize(
    ("weights", "precision", "compute", "n_bytes"),
    [
        (QWEN_7B, "float32", 4, 30_462_466_048),
        (QWEN_7B, "bfloat16", 2, 15_231_233_024),
        (QWEN_7B, "nf4", 2, 5_546_851_072),  # 3,366,194,944 in 4 bits, 2,180,656,128 in bfloat16
        (LLAMA_8B, "bfloat16", 2, 16_060_522_496),
        (LLAMA_8B, "nf4", 2, 5_702_295_552),
        (LLAMA_8B, "nf4", 4, 7_804_174_336),  # a processor computes in float32
    ],
)
def test_bytes_of_weights(weights, precision, compute, n_bytes):
    assert estimates.weight_bytes(weights, precision, compute) == n_bytes


def test_four_bits_take_what_bitsandbytes_takes():
    import torch
    from bitsandbytes.functional import quantize_4bit

    data, state = quantize_4bit(torch.randn(512, 2048), compress_statistics=True, quant_type="nf4")
    held = [data, state.absmax, state.state2.absmax]
    assert sum(t.numel() * t.element_size() for t in held) == 512 * 2048 * estimates.NF4


def test_bytes_of_views_batches_and_activations():
    assert estimates.kv_bytes(QWEN_SHAPE, 2) == 57_344
    assert estimates.kv_bytes(LLAMA_SHAPE, 2) == 131_072
    assert estimates.view_bytes(QWEN_SHAPE, 5765, 2) == 413_235_200
    assert estimates.batch_bytes(LLAMA_SHAPE, 65_536, 2) == 12 * GB
    assert estimates.reading_bytes(QWEN_SHAPE, 1000, 1, 2) == 171_008_000 + 3_649_536


def test_a_step_of_training_takes_what_each_token_keeps():
    how = {"precision": "nf4", "compute": 2, "rank": 16}
    empty, long = (estimates.training_memory(QWEN_7B, QWEN_SHAPE, n, **how) for n in (0, 1000))
    assert empty.adapters == 40_370_176 * 16, "PEFT counts as many trainable weights in Qwen2.5-7B at rank 16"
    assert (empty.kept, long.kept) == (0, 28 * 211_288 * 1000)
    assert estimates.kept_per_token(QWEN_SHAPE, 16, 2, checkpointing=True) == 28 * 2 * 3584 + 2 * 211_288
    for checkpointing in (False, True):
        options = how | {"checkpointing": checkpointing}
        n = estimates.longest_dialogue(QWEN_7B, QWEN_SHAPE, 24 * GB, **options)
        fits, not_quite = (estimates.training_memory(QWEN_7B, QWEN_SHAPE, n + more, **options) for more in (0, 1))
        assert fits.total <= 24 * GB < not_quite.total
    assert estimates.longest_dialogue(QWEN_7B, QWEN_SHAPE, 4 * GB, **how) == 0, "not even the weights fit"


def test_views_that_are_not_kept_are_read_again():
    plan = Plan(QWEN_7B, QWEN_SHAPE, "nf4", 2, 8192, 716, 5765, 9016, n_views=18, rows=18, batch_tokens=65_536)
    assert (plan.holds(7.0), plan.holds(6.5)) == (18, 16)
    assert [round(n / GB, 1) for n in plan.memory(7.0)] == [5.2, 7.0, 5.2, 2.1, 1.0]
    assert [round(n / GB, 1) for n in plan.memory(6.5)] == [5.2, 6.5, 5.2, 10.5, 1.0]
    later = replace(plan, first=100)  # then most is taken when a turn is read: 28 heads share the keys of 4
    assert later.memory(7.0).reading == 2 * 65_536 * 28 * 128 * 2
    assert check_reuse(plan, 7.0, 6).status == "ok"
    assert "`concurrency: 1`" in check_reuse(plan, 3.0, 6).advice


def test_a_reply_is_read_once_and_its_weights_are_passed_per_token():
    speed, weights = Speed(flops=1e12, bytes=1e10), Weights(10**9, 0)
    args = {"n_read": 100, "n_written": 50, "speed": speed}
    assert estimates.reply_seconds(weights, "bfloat16", 2, rows=1, **args) == pytest.approx(0.2 + 50 * 0.2)
    assert estimates.reply_seconds(weights, "bfloat16", 2, rows=10, **args) == pytest.approx(0.2 + 5 * 0.2)
    in_4_bits = estimates.reply_seconds(weights, "nf4", 2, rows=1, **args)
    assert in_4_bits == pytest.approx(0.2 + 50 * 0.451587, rel=1e-4)  # read 0.5, written 2, read 2 bytes


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.2, "less than a second"), (40, "40 s"), (100, "1.7 min"), (720, "12 min"), (12_600, "3.5 h"), (2e6, "23 days")],
)
def test_times_are_said_roughly(seconds, said):
    assert duration(seconds) == said


# --- one check at a time -----------------------------------------------------------------------------


def test_memory_names_every_part_and_what_to_lower():
    memory = Memory(weights=5 * GB, kept=9 * GB, batch=5 * GB, reading=3 * GB)
    fits, tight, too_much = (check_memory(memory, n * GB) for n in (40, 24, 20))
    assert (fits.status, tight.status, too_much.status) == ("ok", "warning", "problem")
    assert "weights 5.0 GB, kept 9.0 GB, batch 5.0 GB, reading 3.0 GB, margin 1.0 GB" in too_much.found
    assert too_much.advice.startswith("a smaller `cache_gb`")


@pytest.mark.parametrize(
    ("free", "changed", "status", "says"),
    [(24, {}, "ok", "a dialogue of 8,192 tokens takes about"), (24, {"checkpointing": False}, "warning", "tokens fit"),
     (5, {}, "problem", "dialogues of 0 tokens fit"), (16, {"load_in_4bit": False}, "problem", "`load_in_4bit: true`")],
)  # fmt: skip
def test_training_takes_the_longest_dialogue(free, changed, status, says):
    plan = Plan(QWEN_7B, QWEN_SHAPE, "bfloat16", 2, 8192, 716, 5765, 9016, n_views=18, rows=18, batch_tokens=65_536)
    values = {"load_in_4bit": True, "half": True, "lora_rank": 16, "checkpointing": True} | changed
    finding = check_training(plan, values, free * GB)
    assert finding.status == status
    assert says in str(finding)


@pytest.mark.parametrize(
    ("room", "status", "says"),
    [(600, "problem", "begins with 700"), (2000, "warning", "continued from summaries"),
     (5000, "ok", "9,000 if all replies"), (10_000, "ok", "grows to 2,500")],
)  # fmt: skip
def test_a_beginning_must_fit_and_the_rest_can_be_summed_up(room, status, says):
    finding = check_context(sample(), room + 500, room)
    assert finding.status == status
    assert says in finding.found


def test_packages_are_compared_with_their_pins():
    pins, here = "# why\ntorch==2.13.0  # x\nnumpy==2.4.6\n-e .\n", {"torch": "2.13.0+cpu", "numpy": "2.4.6"}
    assert check_packages(pins, here.get).status == "ok"
    other = check_packages(pins, (here | {"numpy": "2.5.0"}).get)
    assert (other.status, other.found, other.expected) == ("warning", "other versions: numpy 2.5.0", "numpy==2.4.6")
    gone = check_packages(pins, {"torch": "2.13.0"}.get)
    assert (gone.status, gone.found) == ("problem", "not installed: numpy==2.4.6")


def test_four_bits_work_here():
    finding = check_bitsandbytes()
    assert finding.status == "ok", finding
    assert "gradients" in finding.found


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.skipif("avx512_bf16" not in CPU, reason="only a processor with AVX512-BF16 repacks weights")
def test_four_bits_that_would_be_repacked_are_seen(monkeypatch):
    monkeypatch.setattr("maro_lib.model.loading.guard_4bit", lambda layer: None)
    finding = check_bitsandbytes()
    assert (finding.status, finding.found) == ("problem", "4-bit layers compute wrong numbers on cpu")


def test_pickles_are_not_weights(tmp_path):
    qwen_7b().save_pretrained(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    finding = check_model(FoundModel("x", tmp_path, "a folder"), offline=True)
    assert finding.status == "problem"
    assert "model.safetensors is missing (pickles are there, but are not read)" in finding.found


def test_every_shard_must_be_there(tmp_path):
    qwen_7b().save_pretrained(tmp_path)
    shards = {"a": "model-1.safetensors", "b": "model-2.safetensors"}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    (tmp_path / "model-1.safetensors").write_bytes(b"")
    source = FoundModel("x", tmp_path, "a folder")
    assert source.missing() == ["model-2.safetensors"]
    assert check_model(FoundModel("x", tmp_path, "in the hub's cache"), offline=False).status == "warning"
    (tmp_path / "model-2.safetensors").write_bytes(b"")
    assert check_model(source, offline=True).status == "ok"


def test_a_template_that_rewrites_must_be_allowed(tmp_path):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(EMBEDDED / name, tmp_path)
    template = (EMBEDDED / "chat_template.jinja").read_text()
    (tmp_path / "chat_template.jinja").write_text(template + "{% if messages|length > 4 %}rewritten{% endif %}")
    source = FoundModel("x", tmp_path, "a folder")
    refused, _ = check_template(Player("x"), source, True)
    allowed, chat = check_template(Player("x", rewriting_template=True), source, True)
    assert (refused.status, allowed.status) == ("problem", "warning")
    assert "rewriting_template: true" in refused.advice
    assert not chat.is_append_only


@pytest.mark.parametrize("needed", [10**20, 1])
def test_a_disk_must_have_room(tmp_path, needed):
    assert check_disk(tmp_path / "not" / "yet", needed).status == ("problem" if needed > 1 else "ok")
    assert not list(tmp_path.iterdir()), "the doctor leaves nothing behind"


# --- the whole ---------------------------------------------------------------------------------------


def test_the_embedded_model_will_play(ask):
    code, findings = ask(SMALL)
    assert code == 0, findings
    assert {line.split()[0] for line in findings.values()} <= {"ok", "warning"}
    assert "1.2 million parameters" in findings["model"]
    assert "append-only" in findings["template"]
    assert "by the model's tokenizer" in findings["scripts"]
    assert "measured here" in findings["time"]
    assert {"packages", "device", "memory", "training", "reuse", "context", "disk"} <= findings.keys()


def test_the_time_that_is_promised_is_the_time_that_playing_takes(tmp_path):
    known = declared(find_notebooks(ROOT / "notebooks"))
    values = effective({"n_games": 20, "n_scripts": 5, "precision": "float32"}, known)
    player = Player(precision="float32")
    pace = play_some(player, values)
    games = schedule(scripts_of(values), 20, 0, Rules(rounds=values["rounds"]))
    with player.seated() as policy:
        policy.check_window({})  # the model is loaded by now
        began = time.process_time()
        played = play(games, policy, folder=tmp_path)
        spent = time.process_time() - began
    low, high = pace.span(len(read_table(played.folder, "actions")))
    assert low < spent / pace.threads, "seconds on a machine that does nothing else: by the processor's clock"
    assert spent < high


def test_a_range_of_time_grows_with_the_replies_and_shrinks_with_threads():
    low, high = Timing(seconds=0.01, threads=2, busy=30.0).span(1000)
    assert (low, high) == (2.5, 15.0), "a busy neighbour changes nothing of it"


def test_a_busy_neighbour_changes_nothing_of_a_devices_speed(monkeypatch):
    clock = itertools.count(step=3600.0)  # an hour passes between two looks
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    speed = measure_speed(4)
    assert min(speed) > 1e8, "operations and bytes in a second of the processor"


def test_only_what_comes_again_in_every_round_is_counted_again():
    """Eight notebooks once, four of them in each of two more rounds: 16 times 20 seconds, a third to three times."""
    assert "1.8 min to 16 min" in stages.total([], 3).found


def test_scripted_players_need_no_model(ask):
    code, findings = ask(SMALL + "model: mixture\n")
    assert code == 0
    assert "less than a second" in findings["time"]
    assert "model" not in findings


@pytest.mark.parametrize(
    ("line", "says"),
    [("n_gmaes: 3", "did you mean 'n_games'?"), ("culprits: 4", "culprits: 4"),
     ("run: x/round_2", "is round 2 of the run 'x'"), ("server_url: http://me:secret@there", "looks like a key")],
)  # fmt: skip
def test_a_parameter_that_cant_be_meant_ends_it(ask, line, says):
    code, findings = ask(line + "\n")
    assert code == 1
    assert list(findings) == ["parameters"]
    assert says in findings["parameters"]
    assert "secret" not in findings["parameters"]


def test_a_file_that_is_not_there_is_said(capsys):
    assert main(["doctor", "nowhere.yaml"]) == 1
    assert "there is no such file" in capsys.readouterr().out


def test_a_model_that_is_nowhere_is_a_problem(ask):
    code, findings = ask(SMALL + "model: nobody/nothing\n")
    assert code == 1
    assert findings["model"].startswith("problem")
    assert "set `model` to a folder" in findings["model"]
    assert "not estimated" in findings["memory"]


def test_a_model_without_weights_is_estimated_all_the_same(ask, tmp_path):
    qwen_7b().save_pretrained(tmp_path / "qwen")
    code, findings = ask(SMALL + f"model: {tmp_path / 'qwen'}\nprecision: bfloat16\nregister: prose\n")
    assert code == 1
    assert "7.6 billion parameters" in findings["model"]
    assert "model.safetensors is missing" in findings["model"]
    assert "weights 14.2 GB" in findings["memory"]
    assert "characters / 4" in findings["scripts"]
    assert "very rough" in findings["time"]


def test_a_window_that_is_too_small_is_a_problem(ask):
    code, findings = ask(SMALL + "window: 256\n")
    assert code == 1
    assert findings["context"].startswith("problem")
    assert "a larger `window`" in findings["context"]


def test_scripts_that_no_view_can_hold_are_named_before_anything_is_loaded(ask):
    """In the run's first second by a bound from below, for any tokenizer; in the doctor's by the model's own."""
    code, findings = ask(SMALL + "script: maro_lib/world/cases\nwindow: 300\n")
    assert code == 1
    assert "window: 300 leaves 172 tokens for a view, and" in findings["parameters"]
    code, findings = ask(SMALL + "script: maro_lib/world/cases\nwindow: 1200\n")
    assert code == 1
    assert "of 4 scripts are too long: " in findings["context"]


def test_outputs_that_cant_be_written_are_a_problem(ask, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MARO_OUTPUTS", str(tmp_path / "file" / "outputs"))
    code, findings = ask(SMALL + "model: random\n")
    assert code == 1
    assert "can't be written" in findings["disk"]


def test_a_server_that_answers_is_timed_and_its_lacks_are_said(ask):
    with Server() as server:
        code, findings = ask(SMALL + f"server_url: {server.url}\nmodel: m\nwindow: 8192\n")
    assert code == 0, findings
    assert "answers as `m`, one token in" in findings["server"]
    assert "no token ids and no log-probs" in findings["server"]
    assert findings["context"].startswith("ok")


def test_a_server_that_does_not_answer_is_a_problem(ask):
    code, findings = ask(SMALL + f"server_url: http://127.0.0.1:{free_port()}\nmodel: m\n")
    assert code == 1
    assert "does not answer" in findings["server"]


def test_no_key_is_printed(ask, monkeypatch):
    with Server() as server:
        monkeypatch.setattr("servers.Handler.do_GET", lambda self: self.give(200, {"data": [
            {"id": f"you said {self.headers['authorization']}", "max_model_len": 900}]}))  # fmt: skip
        for key in ("good-secret", "broken secret"):
            monkeypatch.setenv("OPENAI_API_KEY", key)
            code, findings = ask(SMALL + f"server_url: {server.url}\nmodel: m\nserver_key_env: OPENAI_API_KEY\n")
            assert "secret" not in "".join(findings.values()), findings
            assert code == (key == "broken secret")
            assert ("you said Bearer [key]" in findings["server"]) == (key == "good-secret")


def test_a_servers_own_context_length_counts(ask, monkeypatch):
    monkeypatch.setattr("servers.Handler.do_GET", lambda self: self.give(200, {"data": [
        {"id": "m", "max_model_len": 300}]}))  # fmt: skip
    with Server() as server:
        code, findings = ask(SMALL + f"server_url: {server.url}\nmodel: m\nwindow: 8192\n")
    assert code == 1
    assert findings["context"].startswith("problem")
    assert "window 300" in findings["context"]


def test_a_server_command_needs_its_program_and_a_free_port(ask):
    url = f"http://127.0.0.1:{free_port()}"
    text = SMALL + f"server_url: {url}\nmodel: m\nwindow: 8192\nserver_command: "
    assert "no program `no-such-server`" in ask(text + "A=1 no-such-server x\n")[1]["server"]
    code, findings = ask(text + "python -V\n")
    assert code == 0
    assert "not started now" in findings["server"]
    with Server() as server:
        code, findings = ask(text.replace(url, server.url) + "python -V\n")
    assert code == 1
    assert "answers at" in findings["server"]


def test_all_stages_are_estimated(ask, tmp_path):
    """Games, training, matches, evaluation: time and memory of a model that is a folder with nothing but its config."""
    qwen_7b().save_pretrained(tmp_path / "qwen")
    wanted = "precision: nf4\nload_in_4bit: true\nregister: prose\nevals: [gsm8k]\nn_quick: 2\n"
    code, findings = ask(SMALL + f"model: {tmp_path / 'qwen'}\n{wanted}")
    for stage in ("lessons", "playing", "quick games", "training", "matches", "evaluation"):
        assert f"{stage} " in findings["total"]
    assert "keys and values" in findings["evaluation"]
    assert "gsm8k: fetched from the hub" in findings["data"]
    code, findings = ask(SMALL + f"model: {tmp_path / 'qwen'}\n{wanted}eval_data: {tmp_path}\n")
    assert code == 1
    assert "openai/gsm8k" in findings["data"]
    assert "is missing" in findings["data"]


def test_nltks_table_is_missed_before_the_run(ask, tmp_path, monkeypatch):
    monkeypatch.setattr("nltk.data.path", [])
    text = SMALL + f"model: random\nevals: [ifeval]\neval_data: {tmp_path}\n"
    assert "punkt_tab" in ask(text)[1]["evals"]
    (tmp_path / "nltk_data/tokenizers/punkt_tab").mkdir(parents=True)
    assert "punkt_tab" not in ask(text)[1].get("evals", "")


def test_what_a_servers_run_does_here_is_looked_at_here(ask, tmp_path):
    qwen_7b().save_pretrained(tmp_path / "qwen")
    with Server() as server:
        text = f"server_url: {server.url}\nmodel: {tmp_path / 'qwen'}\nwindow: 8192\nload_in_4bit: true\n"
        _, findings = ask(SMALL + text)
    assert "notebooks 05 to 07 load it here: Qwen2ForCausalLM, 7.6 billion" in findings["model"]
    assert {"memory", "training", "total"} <= findings.keys()


def by_hand(**changed):
    known = declared(find_notebooks(ROOT / "notebooks"))
    sizes = {"n_games": 10, "mode": "all", "batch": 12, "epochs": 2.0, "check_every": 3, "n_quick": 2, "n_matches": 5}
    return effective(sizes | changed, known)


def test_replies_and_steps_by_hand():
    """Ten games of six players and 57 actions: 60 dialogues, 10 steps of 12, looks at steps 0, 3, 6, 9, 10."""
    assert stages.n_steps(by_hand(), sample()) == 10
    assert stages.replies(by_hand(), sample()) == {
        "playing": 570, "playing anew": 0, "quick games": 5 * 2 * 57, "matches": 5 * 5 * 57
    }  # fmt: skip
    assert stages.replies(by_hand(control=False), sample())["matches"] == 3 * 5 * 57
    assert stages.replies(by_hand(n_online=4), sample())["playing anew"] == 570
    assert stages.n_kept(by_hand(mode="min"), sample()) == 20, "a culprit and a civilian of each game"


def test_seconds_of_a_cross_play_by_hand():
    """Base and two rounds meet each other and three scripted players: 9 + 2 * 9 pairs of 4 games, 57 actions each."""
    asked = by_hand(contenders="rounds", maro_iterations=2, control=False, n_cross=4)
    low, high = stages.cross_play_seconds(asked, sample(), (0.1, 0.2))
    assert (low, high) == pytest.approx((27 * 4 * 5.7 + 20 / 3, 27 * 4 * 11.4 + 60))
    assert stages.cross_play_seconds(by_hand(), sample(), (0.1, 0.2)) == pytest.approx((20 / 3, 60)), "what is kept"


def test_seconds_of_training_by_hand():
    """A billion weights, 60 dialogues of 5,750 tokens: 2 reference operations, then 2 epochs of 4, twice."""
    plan = Plan(Weights(10**9, 0), QWEN_SHAPE, "bfloat16", 2, 8192, 700, 5750, 9000, 18, 18, 65_536)
    seconds = stages.training_seconds(by_hand(), sample(), plan, Speed(1e12, 1e10))
    assert seconds == pytest.approx(60 * 5750 * 1e9 / 1e12 * (2 + 2 * 4 * 2))
    ckpt = stages.training_seconds(by_hand(checkpointing=True, control=False), sample(), plan, Speed(1e12, 1e10))
    assert ckpt == pytest.approx(60 * 5750 * 1e9 / 1e12 * (2 + 2 * 6))


@pytest.mark.parametrize("path", sorted((ROOT / "params").glob("gpu_*.yaml")), ids=lambda path: path.stem)
def test_shipped_files_for_a_gpu_are_read(path: Path, capsys, tmp_path, monkeypatch):
    """They may have problems here (no model, no vLLM), but none with parameters, scripts or disk."""
    monkeypatch.setenv("MARO_OUTPUTS", str(tmp_path))
    main(["doctor", str(path)])
    lines = capsys.readouterr().out.splitlines()
    for check in ("parameters", "scripts", "disk"):
        assert any(line.split()[:2] == ["ok", check] for line in lines), lines


def test_an_adapter_is_sound_or_unverified_or_a_problem_before_the_run(tmp_path):
    shutil.copytree(ROOT / STUDY_ADAPTER, folder := tmp_path / "a")
    assert check_adapter(STUDY_ADAPTER).found == f"{STUDY_ADAPTER}, for embedded"
    (folder / ORIGIN).unlink()
    assert check_adapter(str(folder)).status == "warning"
    (folder / WEIGHTS).write_bytes(b"half")
    damaged = check_adapter(str(folder))
    assert damaged.status == "problem"
    assert WEIGHTS in damaged.found
