"""From parents to bundles: recipes, collapse, proofs, row dispatch, ONNX, and the files of a bundle."""
