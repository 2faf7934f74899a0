"""The pipeline on open-source Kubeflow Pipelines 2: compiler, container entry point and client."""
