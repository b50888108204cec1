"""Tables 1 to 5 of Xue, Sun and Yang (2023) as data: rows, figures and trainings.

Several rows may share a training: Res-18 with ContraWarping weights, Spatial Reserve Pooling, one
frame in ten and three frozen stages is a row of every table.
"""

from dataclasses import dataclass, field

RES18 = 'res18_srp_affwild2.py'  # the paper's recipe: three frozen stages, SRP, 1/10
FROZEN = 'model.backbone.frozen_stages'  # -1: no stage, 4: all stages
MINI_RESNET = {
    # At 112 pixels, the last stage must not halve its map, so that SRP gets 7x7 cells. Strides
    # change neither names nor shapes of weights.
    'data_preprocessor.crop_size': 112,
    'data_preprocessor.resize_edge': 128,
    'model.backbone.strides': (1, 2, 2, 1),
}


@dataclass(frozen=True)
class Training:
    """Training behind one or several rows.

    Attributes:
        config (str): File in ``configs/``.
        init (str): Name of the pre-trained weights, as in ``--init`` of
            ``tools/reproduce_tables.py``.
        options (dict): Overrides of the config.
        mini (dict): Further overrides for the miniature, which two CPU cores can train.
        mini_iters (int): Iterations of the miniature.
        mini_batch (int): Batch size of the miniature, in frames over all processes.
    """

    config: str
    init: str
    options: dict = field(default_factory=dict)
    mini: dict = field(default_factory=dict)
    mini_iters: int = 100
    mini_batch: int = 32


@dataclass(frozen=True)
class Row:
    """Row of a table.

    Attributes:
        table (int): Number of the table.
        label (str): The paper's cells before the figure, separated by commas.
        paper (float): Macro-F1 in % on the validation set, as printed in the paper.
        training (str): Key of ``TRAININGS``.
    """

    table: int
    label: str
    paper: float
    training: str


def _res18(init: str = 'res18_contrawarping', **options: object) -> Training:
    names = dict(frozen=FROZEN, stride='train_dataloader.sampler.stride')
    return Training(RES18, init, {names[key]: value for key, value in options.items()}, MINI_RESNET)


TRAININGS = {
    'res18': _res18(),
    'res18_ms1m': _res18('res18_ms1m'),
    'res18_simsiam': _res18('res18_simsiam'),
    'res18_byol': _res18('res18_byol'),
    'res18_gap': Training('res18_gap_affwild2.py', 'res18_contrawarping', mini=MINI_RESNET),
    'res18_all_frames': _res18(stride=1),
    'res18_frozen0': _res18(frozen=-1),
    'res18_frozen1': _res18(frozen=1),
    'res18_frozen2': _res18(frozen=2),
    'res18_frozen4': _res18(frozen=4),
    'irnet50': Training('irnet50_affwild2.py', 'irnet50_ms1m', mini_iters=20, mini_batch=16),
    'apvit': Training('apvit_affwild2.py', 'irnet50_ms1m', mini_iters=10, mini_batch=16),
    'apvit_rafdb': Training('apvit_rafdb_affwild2.py', 'apvit_rafdb', mini_iters=10, mini_batch=16),
    'res50': Training('res50_srp_affwild2.py', 'res50_contrawarping', mini=MINI_RESNET),
}

TITLES = {
    1: 'initialisations of the Res-18 backbone',
    2: 'GAP and SRP',
    3: 'sampling of frames',
    4: 'frozen stages',
    5: 'backbones and pre-trained weights',
}

ROWS = (
    Row(1, 'Sup. MS1M', 27.71, 'res18_ms1m'),
    Row(1, 'SimSiam', 25.40, 'res18_simsiam'),
    Row(1, 'BYOL', 31.74, 'res18_byol'),
    Row(1, 'ContraWarping', 34.85, 'res18'),
    Row(2, 'GAP', 30.92, 'res18_gap'),
    Row(2, 'SRP', 34.85, 'res18'),
    Row(3, '1/1', 32.23, 'res18_all_frames'),
    Row(3, '1/10', 34.85, 'res18'),
    Row(4, '0', 33.24, 'res18_frozen0'),
    Row(4, '1', 29.90, 'res18_frozen1'),
    Row(4, '2', 30.60, 'res18_frozen2'),
    Row(4, '3', 34.85, 'res18'),
    Row(4, '4', 32.65, 'res18_frozen4'),
    Row(5, 'IR-50, Sup. MS1M', 30.78, 'irnet50'),
    Row(5, 'APViT, Sup. MS1M', 35.48, 'apvit'),
    Row(5, 'APViT, Sup. RAF-DB', 35.63, 'apvit_rafdb'),
    Row(5, 'Res-18, ContraWarping', 34.85, 'res18'),
    Row(5, 'Res-50, ContraWarping', 37.57, 'res50'),
)
