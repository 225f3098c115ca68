"""Results files of the past -> columns of numbers, a set for each camera.

Reads JSON lines of `vedette.result/1`, gzipped or not, in one pass: what a record says of its objects is not kept, the
rest takes about 110 bytes. Of several files a record that stands in two counts once, and their order does not matter
where the clock was right. What is no such record is counted and named, and the rest is read. Records that lack what
was added to the schema later are read too: a number that is not there is NaN.
"""

from agent.history.columns import HEDGES, CameraHistory, Codes, Columns, Floats, History
from agent.history.reader import STDIN, moment, name_of, read

__all__ = ["HEDGES", "STDIN", "CameraHistory", "Codes", "Columns", "Floats", "History", "moment", "name_of", "read"]
