"""How much is done."""

import resource

from servers import SERVERS_MAX

# Descriptors that a gateway needs beside its clients' and servers', with room to spare.
OTHER_DESCRIPTORS = 200


class Sizes:
    """How much is done."""

    def __init__(self, smoke, seconds, rounds, shards):
        self.smoke = smoke
        self.shards = shards
        self.seconds = seconds
        self.rounds = 1 if smoke else rounds
        self.clients = (4,) if smoke else (1, 32, 256)
        self.transaction_clients = 4 if smoke else 32
        self.accounts = 2000 if smoke else 100_000
        self.wide_rows = 2000 if smoke else 100_000
        self.series_rows = 2000 if smoke else 2_000_000
        self.copy_rows = 5000 if smoke else 1_000_000
        self.federated_rows = 2000 if smoke else 1_000_000
        self.idle_clients = 20 if smoke else 10_000
        self.stampede_clients = 20 if smoke else 20 * SERVERS_MAX
        self.stampede_transactions = 5 if smoke else 50
        descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        most = descriptors - SERVERS_MAX - OTHER_DESCRIPTORS if descriptors != resource.RLIM_INFINITY else 50_000
        self.crowd_clients = 50 if smoke else 50_000
        # Clients before one gateway at the most.
        self.crowd_share = 25 if smoke else min(50_000, most)
        self.crowd_active = 5 if smoke else 500
        self.crowd_seconds = 1 if smoke else 10
