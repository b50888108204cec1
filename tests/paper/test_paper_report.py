"""Markdown of a report."""

from abaw_mm.paper.report import to_markdown

MACHINE = ('device', 'processor', 'cores', 'python', 'torch', 'mmengine', 'mmcv', 'mmpretrain')


def test_markdown_escapes_cells_and_fills_gaps():
    row = dict.fromkeys(['mean', 'spread', 'difference', 'weights', 'trainable', 'total', 'flops'])
    row |= dict(label='a | b', paper=1.0, state='failed', reason='r', init='i', runs=[])
    row['time'] = dict(train_s=4000, frames_per_s=None)
    report = dict(note='n', command='c', date='d', processes=1, budget='full', seeds=1)
    report |= dict(cfg_options={}, data={}, tables=[dict(table=1, title='t', rows=[row])])
    report['machine'] = dict.fromkeys([*MACHINE, 'numpy', 'abaw_mm'], 'x')
    lines = to_markdown(report).splitlines()
    assert '| a \\| b | 1.00 | failed | - | - | - | - | - | 1:06:40 | - |' in lines
    assert '- a | b: failed: r' in lines
    table = [line.replace('\\|', '') for line in lines if line.startswith('|')]
    assert len({line.count('|') for line in table}) == 1
