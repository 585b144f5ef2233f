"""Send one request after another, with the library requests.

Written from the description of 2016's client, for Python 3.5. Call it with URL REQUESTS.
"""

import sys

import requests

for item in range(int(sys.argv[2])):
    requests.get("{}/{}".format(sys.argv[1], item))  # with the whole body
