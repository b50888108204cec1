"""``tools/analysis_tools/scaling.py`` on a small config."""

import json

import pytest

CONFIG = 'configs/res18_srp_demo.py'


def test_estimate_of_a_config(repo, run_tool, tmp_path):
    flags = ['--step-ms', '138', '--fixed-ms', '10', '--batch', '128', '--gpus-per-node', '2']
    path = tmp_path / 'scaling.json'
    status, output, _ = run_tool(
        'analysis_tools/scaling.py',
        repo / CONFIG,
        *flags,
        *('--node-gbps', '100', '--network-gbps', '8', '--json', path),
    )
    assert status in (0, None)
    result = json.loads(path.read_text())
    count = result['configs']['res18_srp_demo']
    assert count['trainable'] == count['total'] and count['gradient_bytes'] == 4 * count['total']
    size, rates = count['gradient_bytes'], result['frames_per_s']
    assert rates['same batch']['1'] == pytest.approx(128 / 0.138)
    # 4 GPUs on 2 machines: 10 ms + 32 ms, a ring over 1 GB/s, 6 messages of 20 us
    exchange = 1.5 * size / 1e9 + 6 * 2e-5
    assert rates['same batch']['4'] == pytest.approx(128 / (0.042 + exchange))
    assert rates['batch x GPUs']['4'] == pytest.approx(4 * 128 / (0.138 + exchange))
    assert rates['4 accumulated steps']['4'] == pytest.approx(4 * 4 * 128 / (4 * 0.138 + exchange))
    half = 0.75 * size / 1e9 + 6 * 2e-5
    assert rates['bfloat16 gradients']['4'] == pytest.approx(128 / (0.042 + half))


@pytest.mark.parametrize(
    ('flags', 'message'),
    [
        (['--step-ms', '0'], '--step-ms: got 0.0, expected a number above 0'),
        (['--overlap', '2'], '--overlap: got 2.0, expected 0 to 1'),
        (['--step-ms', '5', '--fixed-ms', '6'], '--fixed-ms: got 6.0, expected 0 to --step-ms'),
        ([CONFIG, '--step-ms', '5'], '--step-ms: got several configs, expected one'),
    ],
)
def test_wrong_flags(run_tool, flags, message):
    status, _, error = run_tool('analysis_tools/scaling.py', CONFIG, *flags)
    assert status == 2 and message in error
