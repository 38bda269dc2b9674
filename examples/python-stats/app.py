"""Statistics of a column of numbers: POST CSV, get JSON."""

import csv
import io
import json
import statistics

from componentize_py_types import Err, Ok
from wit_world import exports
from wit_world.imports.streams import StreamError_Closed
from wit_world.imports.types import (
    Fields,
    IncomingRequest,
    Method_Get,
    Method_Post,
    OutgoingBody,
    OutgoingResponse,
    ResponseOutparam,
)

# What wasi:io takes in one blocking write.
CHUNK = 4096


class IncomingHandler(exports.IncomingHandler):
    def handle(self, request: IncomingRequest, response_out: ResponseOutparam) -> None:
        method, path = request.method(), request.path_with_query() or "/"
        match method:
            case Method_Get():
                status, answer = 200, {"usage": "POST rows of CSV with a header to /"}
            case Method_Post():
                try:
                    status, answer = 200, describe(read_all(request).decode())
                except ValueError as problem:
                    status, answer = 400, {"error": str(problem)}
            case _:
                status, answer = 405, {"error": "GET or POST"}
        print(f"{type(method).__name__.removeprefix('Method_').upper()} {path} {status}", flush=True)
        respond(response_out, status, answer)


def describe(text: str) -> dict[str, dict[str, float]]:
    """Each column whose values are all numbers, with its size, mean, median and deviation."""
    rows = list(csv.DictReader(io.StringIO(text)))
    if not rows:
        raise ValueError("no rows")
    described = {}
    for column in rows[0]:
        try:
            numbers = [float(row[column]) for row in rows]
        except (TypeError, ValueError):
            continue
        described[column] = {
            "count": len(numbers),
            "mean": statistics.fmean(numbers),
            "median": statistics.median(numbers),
            "deviation": statistics.pstdev(numbers),
        }
    if not described:
        raise ValueError("no column of numbers")
    return described


def read_all(request: IncomingRequest) -> bytes:
    body = request.consume()
    with body.stream() as stream:
        read = bytearray()
        while True:
            try:
                read += stream.blocking_read(64 * 1024)
            except Err as ended:
                if isinstance(ended.value, StreamError_Closed):
                    return bytes(read)
                raise


def respond(out: ResponseOutparam, status: int, answer: dict) -> None:
    response = OutgoingResponse(Fields.from_list([("content-type", b"application/json")]))
    response.set_status_code(status)
    body = response.body()
    ResponseOutparam.set(out, Ok(response))
    text = (json.dumps(answer) + "\n").encode()
    with body.write() as stream:
        for start in range(0, len(text), CHUNK):
            stream.blocking_write_and_flush(text[start : start + CHUNK])
    OutgoingBody.finish(body, None)
