"""Write the description of an exported network into its file."""

from pathlib import Path

from abaw_mm.models.deploy.onnx_network import NetworkInfo


def write_metadata(path: Path, info: NetworkInfo) -> None:
    """Replace the metadata of an ONNX file.

    Args:
        path (Path): The file, with its weights.
        info (NetworkInfo): Description of the network.
    """
    import onnx  # an optional package

    model = onnx.load(path)
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, info.to_metadata())
    model.producer_name, model.producer_version = 'abaw_mm', info.version
    model.doc_string = f'{info.config}, {info.task}, {info.precision}'
    onnx.checker.check_model(model)
    onnx.save(model, path)
