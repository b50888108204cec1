"""Install abaw_mm: ``pip install .`` or ``pip install -e .``."""

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).parent
VERSION = re.search(r"__version__ = '(.+?)'", (HERE / 'abaw_mm/version.py').read_text()).group(1)


class BuildWithConfigs(build_py):
    """Copy configs, their index and the commands into the wheel as ``abaw_mm/.mim``.

    OpenMMLab's tools look there. The source tree is not changed. An editable install finds them in
    the repository.
    """

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        mim = Path(self.build_lib) / 'abaw_mm/.mim'
        shutil.rmtree(mim, ignore_errors=True)  # left by an earlier build
        for folder in ('configs', 'tools', 'demo'):
            shutil.copytree(
                HERE / folder, mim / folder, ignore=shutil.ignore_patterns('__pycache__')
            )
        shutil.copy(HERE / 'model-index.yml', mim)


setup(
    name='abaw_mm',
    version=VERSION,
    description='Expressions in video with mmpretrain: Spatial Reserve Pooling on Aff-Wild2',
    long_description=(HERE / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    cmdclass={'build_py': BuildWithConfigs},
    packages=find_packages(include=['abaw_mm', 'abaw_mm.*']),
    package_data={'abaw_mm': ['py.typed'], 'abaw_mm.visualization.report': ['*.j2']},
    entry_points={'console_scripts': ['abaw-mm=abaw_mm.cli.console:main']},
    python_requires='>=3.10',
    # abaw_mm/compat/versions.py checks these ranges on import; requirements/ has exact pins. The
    # onedl continuation has other package names for the same modules: install
    # requirements/onedl.txt, then this package with --no-deps.
    install_requires=[
        'torch>=2.4',  # fused SGD on the CPU
        'torchvision>=0.15',
        'mmengine>=0.10.4,<0.12',
        'mmcv-lite>=2.0,<2.4',
        'mmpretrain>=1.2,<1.4',
        'numpy>=1.23',
        'scipy>=1.10',
        'pillow>=9.1',
        'safetensors>=0.4',
        'rich>=13.0',
        'simplejpeg>=1.6',
        'scikit-learn>=1.2',
        'matplotlib>=3.7',
        'jinja2>=3.0',
    ],
    extras_require={
        'tensorboard': ['tensorboard'],
        'lmdb': ['lmdb'],
        # facenet-pytorch for the weights of its MTCNN; later releases pin old torch and NumPy.
        # opensmile, for --feature egemaps, is not listed: its licence is non-commercial.
        'audio': ['av>=17,<20', 'transformers>=4.57'],
        'encoders': ['timm>=1.0', 'onnx>=1.15', 'onnxruntime>=1.17'],
        'onnx': ['onnx>=1.17', 'onnxruntime>=1.18', 'onnxscript>=0.7.2', 'onnx-ir>=1.1'],
        'h5': ['h5py>=3.8'],
        'video': ['av>=17,<20', 'facenet-pytorch==2.5.3', 'opencv-python>=4.7'],
    },
    classifiers=[
        'Development Status :: 4 - Beta',
        'Environment :: Console',
        'Intended Audience :: Science/Research',
        'Operating System :: OS Independent',
        'Programming Language :: Python :: 3 :: Only',
        'Programming Language :: Python :: 3.10',
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
        'Topic :: Scientific/Engineering :: Image Recognition',
        'Typing :: Typed',
    ],
)
