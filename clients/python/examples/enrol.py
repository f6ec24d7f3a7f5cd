"""Register a device with its product's secret (one product, one secret), connect it, and say hello. May be run again at any time.

Usage: python enrol.py PRODUCT_KEY/DEVICE_NAME SECRET_FILE [HOST:PORT]

SECRET_FILE has the product's secret. Without HOST:PORT it is region cn-shanghai.
"""

import sys
from pathlib import Path

from linkkit_sidecar import ConflictError, Device, Endpoint, RefusedError, SidecarClient

if len(sys.argv) < 3:
    sys.exit(__doc__)
device = Device.parse(sys.argv[1])
product_secret = Path(sys.argv[2]).read_text().strip()
endpoint = Endpoint(region="cn-shanghai")
if len(sys.argv) > 3:
    host, _, port = sys.argv[3].partition(":")
    endpoint = Endpoint(host=host, port=int(port))

with SidecarClient(device=device) as client:
    try:
        made = client.register(device, product_secret=product_secret, endpoint=endpoint)
        print("registered; the sidecar has stored a credential with fingerprint", made.credential.fingerprint)
    except ConflictError as error:
        if error.reason != "CREDENTIAL_EXISTS":
            raise
        print("it was registered before")
    except RefusedError as error:
        sys.exit(f"the platform refused: {error}. {error.advice}")
    status = client.connect(endpoint=endpoint)
    print(device, "is", status.state.name.lower())
    client.publish(device.topic("user/update"), "hello")
