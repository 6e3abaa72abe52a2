from onepath.server.logs import reason_from_log

INFO = 'I1121 09:42:44.375730 9029 model_lifecycle.cc:839] "loading: tiny:1"\n'
NOISE = 'E1121 09:42:44.375695 9029 ensemble.cc:1468] "unable to create stream for tiny: CUDA driver"\n'
ERROR = "E1121 09:42:45.000000 9029 lifecycle.cc:642] \"failed to load 'tiny' version 1: Internal: no such file\"\n"


def reason(tmp_path, text):
    log = tmp_path / "server.log"
    log.write_text(text)
    return reason_from_log(log)


def test_errors_are_told_without_their_prefix_and_each_once(tmp_path):
    found = reason(tmp_path, INFO + ERROR + INFO + ERROR)
    assert found == "failed to load 'tiny' version 1: Internal: no such file"


def test_what_every_server_without_a_gpu_says_is_no_reason(tmp_path):
    assert "stream" not in reason(tmp_path, NOISE + ERROR)


def test_a_log_without_errors_gives_its_last_lines_but_no_frames(tmp_path):
    assert reason(tmp_path, "cannot open shared libraries\n+-----+\n\n") == "cannot open shared libraries"


def test_an_empty_or_missing_log_says_so(tmp_path):
    assert reason(tmp_path, "") == reason_from_log(tmp_path / "none.log") == "it wrote nothing"
