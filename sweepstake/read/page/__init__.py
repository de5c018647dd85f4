"""The page: one HTML document that opens anywhere, offline."""

from sweepstake.read.page.document import MARKS as MARKS
from sweepstake.read.page.document import Reading as Reading
from sweepstake.read.page.document import Results as Results
from sweepstake.read.page.document import drawings as drawings
from sweepstake.read.page.document import page as page
from sweepstake.read.page.document import read as read
from sweepstake.read.page.document import told as told
