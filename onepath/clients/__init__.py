"""Calling pipelines over gRPC and HTTP, with whatever modalities each row has.

from onepath.clients import Client

with Client("127.0.0.1:8001") as client:
    for row in client.predict("digits", image=["seven.png", None], audio=["seven.wav", "two.wav"]):
        print(row.label, row.score, row.presence)
"""

from onepath.clients.client import Client, HttpClient, PipelineClient
from onepath.clients.responses import Prediction, Predictions

__all__ = ["Client", "HttpClient", "PipelineClient", "Prediction", "Predictions"]
