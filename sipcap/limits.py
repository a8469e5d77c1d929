"""Every bound and default port, each with the reason for its value."""

from __future__ import annotations

from typing import Final

HEP_PORT: Final = 9060
"""The port that HEP agents send to by default (HOMER, heplify, siptrace examples)."""

MAX_DATAGRAM_BYTES: Final = 65_535
"""The largest UDP payload fits; a HEPv3 total length has 16 bits as well."""

MAX_INFLATED_BYTES: Final = 1 << 20
"""Chunk 0x0010 may inflate to this much, all of one datagram together; larger is a bomb, not a SIP message."""

MAX_HEP_PER_DATAGRAM: Final = 64
"""HEP messages in one datagram; voipmonitor packs a few."""

MAX_VENDOR_CHUNKS: Final = 64
"""Vendor and unknown chunks kept of one HEP message."""

MAX_SIP_HEADERS: Final = 1_000
"""Header lines looked at; the rest stays in ``msg`` only (a 64 KB message of ``a:\\n`` lines has 20,000)."""

MAX_ALEG_HEADERS: Final = 16
"""Names in ``callid_aleg_header``, as in the module (spec 1.5)."""

MAX_SIP_MESSAGE_BYTES: Final = 1 << 20
"""One SIP message of a stream; UDP carries 64 KB, and no length beyond this is believed."""

MAX_SIP_START_LINE_BYTES: Final = 8_192
"""A start line on a stream; request URIs with parameters and embedded headers reach a few KB."""

TCP_CONNECTIONS: Final = 16_384
"""TCP connections followed at a time, 3 KB each; the one that was silent longest makes room."""

TCP_OPENINGS: Final = 16_384
"""SYNs remembered that no data has followed, 200 bytes each; a flood of them pushes out nothing but each other."""

TCP_IGNORED: Final = 65_536
"""Directions of TCP connections known to be no SIP, 200 bytes each; the oldest is looked at again."""

TCP_HELD_BYTES: Final = 1 << 20
"""Segments of one direction that wait for one before them; more than that proves it lost."""

TCP_TOTAL_BYTES: Final = 32 << 20
"""All that waits in TCP streams, segments and messages alike; beyond it, what waits longest is given up."""

TCP_PIECE_BYTES: Final = 256
"""What a waiting segment costs beside its bytes; the bounds count it, for segments of one byte."""

TCP_REORDER_US: Final = 100_000
"""How much later a segment may be captured than one behind it: mirror ports that are merged do so."""

TCP_GAP_US: Final = 2_000_000
"""How long a segment is waited for that nobody has acknowledged: retransmissions come after 0.2 to 1 s."""

TCP_WINDOW_BYTES: Final = 16 << 20
"""A sequence number further away than this belongs to another connection with the same ports."""

TCP_IDLE_US: Final = 600_000_000
"""A connection without a segment for this long is forgotten; one that goes on is picked up on its way."""

TCP_LOOK_BYTES: Final = 4_096
"""Bytes of a new connection in which SIP, HEP or HTTP must begin (a PROXY header may come first)."""

TCP_LOOK_MIDSTREAM_BYTES: Final = 128 << 10
"""Bytes of a connection picked up on its way that are searched: it may be in the middle of a long message."""

MAX_LINE_BYTES: Final = 8 << 20
"""One NDJSON record; a 1 MiB message needs at most 6 times that as JSON escapes."""

MAX_STREAM_CONNECTIONS: Final = 4_096
"""HEP connections at a time and process; further ones are closed at once and counted."""

STREAM_BUFFER_BYTES: Final = 64 << 10
"""Undecoded bytes kept of one HEP connection: one frame at most."""

STREAM_RESYNC_BYTES: Final = 64 << 10
"""Bytes skipped on one HEP connection while looking for the next frame before it is closed."""

STREAM_IDLE_S: Final = 60.0
"""A peer that stops in the middle of a frame, or of the TLS handshake, is closed after this."""

FRAGMENT_TIMEOUT_US: Final = 5_000_000
"""How long fragments of an IP packet wait for the others, in packet time. On the wire they follow each other within
milliseconds; longer (Linux: 30 s) only lets IPv4's identification come round, and pieces of two packets meet
(RFC 4963): at 13,000 packets a second between two hosts after 5 s."""

SCTP_TIMEOUT_US: Final = 60_000_000
"""How long parts of an SCTP message wait for the others, in packet time: RTO.Max of RFC 9260 section 16."""

MAX_FRAGMENTED_PACKETS: Final = 4_096
"""Incomplete IP packets at a time; Linux has about 4 MB for them, which are as many of two fragments each."""

MAX_FRAGMENT_BYTES: Final = 16 << 20
"""Bytes that wait for other fragments: 256 of the longest IP packets, or all of MAX_FRAGMENTED_PACKETS usual ones."""

MAX_FRAGMENTS: Final = 256
"""Pieces of one IP packet: 65,535 bytes over the smallest link that IPv4 hosts have to expect (576) are 119."""

MAX_LAYERS: Final = 8
"""Packets inside each other; four are usual where a mirror tunnel (ERSPAN in an overlay) shows VXLAN."""

SOCKET_BATCH: Final = 256
"""Datagrams taken from one socket before the others get their turn."""

RCVBUF_BYTES: Final = 64 << 20
"""What is asked for as receive buffer; the system grants what it allows."""

RING_BLOCK_BYTES: Final = 128 << 10
"""A block of the memory that the kernel writes captured packets to; the largest IP packet and its header fit in."""

RING_BLOCK_MS: Final = 50
"""A block that is not full is read after this. With little traffic, 512 blocks (64 MiB) last 25 s without a reader."""

OUTPUT_QUEUE_BYTES: Final = 32 << 20
"""Encoded lines waiting for the reader of our output; full = receiving stops and the kernel counts."""

OUTPUT_WRITE_BYTES: Final = 1 << 20
"""Bytes handed to one write(2) at most, so that a stop is noticed between them."""

READ_AHEAD_BYTES: Final = 8 << 20
"""Input that ``store`` reads while a batch is being written: about one batch (design 1.4, ``plain``)."""

BATCH_CHARACTERS: Final = 64 << 20
"""What batches that wait to be written were read from: 2,000 of a megabyte, or of a line's 8, would fill the memory."""

ASYNC_BATCHES: Final = 16
"""Batches on their way in ``--insert-mode async``: about 60 MB of usual messages, seconds of a slow database."""

DRAIN_TIMEOUT_S: Final = 10.0
"""How long a stopped command goes on with what it has already taken in (design 1.1)."""

HOOKS_DRAIN_SHARE: Final = 0.75
"""This much of the time to drain hooks may use; the rest is for whoever takes their lines and stores them."""

FLUSH_INTERVAL_S: Final = 0.1
"""Lines reach a pipe at most this much later (design 1.5)."""

MAX_ROUTED_VALUE: Final = 1_024
"""Characters of a header's value that a route's regular expression sees: Python's search may need their square."""

HOOK_TIMEOUT_S: Final = 5.0
"""How long a hook may think about one message (design 1.7)."""

HOOK_HANG_S: Final = 5.0
"""A hook that is still there so long after its time was over cannot be ended, and costs its process."""

HOOK_MEMORY_ERRORS: Final = 100
"""So many answers in a row without memory: the hook keeps it, and it costs its process. One message may want much."""

HOOK_RESERVE_BYTES: Final = 64 << 20
"""What a hook leaves of the memory that its process may take: a batch of the longest datagrams, records and lines."""

SLOW_HOOK_S: Final = 0.1
"""A hook that takes longer for one message is named in the log: meanwhile, 1,000 more may have come."""

FORWARD_QUEUE_BYTES: Final = 16 << 20
"""Packets that wait for one collector: some seconds of a large site, in each capturing process."""

FORWARD_CONNECT_S: Final = 5.0
"""How long a collector has to accept a connection."""

FORWARD_RETRY_S: Final = 1.0
"""A collector that cannot be reached is tried again this often."""

FORWARD_DRAIN_S: Final = 2.0
"""What waits for collectors when a capture ends is sent within this, for all of them together."""

MAX_HOOK_ROUTES: Final = 4_096
"""Answers of a hook that are known to be right; it may make up a table for each message."""

SQLITE_BUSY_S: Final = 10.0
"""How long SQLite waits for another process' lock before a batch counts as failed."""

SERVER_CONNECT_S: Final = 10
"""How long a database server has to answer a connection."""

SERVER_WAIT_S: Final = 30
"""How long a database server may make a statement wait for a lock before the batch counts as failed."""

SERVER_SILENCE_S: Final = 120
"""A MySQL server that says nothing for this long in the middle of a statement is taken for lost."""

SHAPE_KEEP_S: Final = 60.0
"""What is known of a table of a database server is looked up again after this."""

BATCH_LEDGER_KEEP_S: Final = 86_400
"""Ids of committed batches are kept this long in ``sipcap_batches``."""

SPOOL_BYTES: Final = 1 << 30
"""What the spool takes of the disk at most (design 1.7): minutes of a large site, a day of a small one."""

DEAD_LETTER_BYTES: Final = 1 << 30
"""What the dead-letter file of a service takes of the disk at most (design 1.7)."""

MAX_CHILDREN: Final = 64
"""Processes of one listener; more than cores are of no use."""

RESTART_PAUSE_S: Final = 10.0
"""Between two starts of a process of the service that ends again and again; the first pause is a hundredth."""

RESTART_STEADY_S: Final = 60.0
"""A process that has run for so long is started again as if it were the first time."""

START_S: Final = 60.0
"""A process of the service that is not ready after this will never be; a spool of a million files is read in less."""

WORKER_SILENCE_S: Final = 10.0
"""A worker that is silent for this long, and what its hook may take besides, is killed: else it speaks every 0.1 s."""

KEPT_ERRORS: Final = 20
"""Latest warnings of a process that a service shows: a screenful."""

DOCTOR_CHECK_S: Final = 25.0
"""How long ``doctor`` waits for all its checks together: a server that does not answer is given up after 10 s."""

DOCTOR_SPOOL_BYTES: Final = 64 << 20
"""What ``doctor`` reads of waiting segments to see whether they are whole: half a second."""

DATABASE_ROOM_BYTES: Final = 1 << 30
"""What ``doctor`` wants to be free where records go: an hour of 300 messages a second."""

FILE_LOCK_S: Final = 10.0
"""How long a process waits for another that writes files in the same folder before a batch counts as failed."""

FILE_BATCHES_KEPT: Final = 1_000
"""Ids of batches that the journal of a folder of files keeps at least; it is read with every batch."""

MAX_NEW_TABLES_PER_HOUR: Final = 100
"""New tables that live input may cause (design 1.6: hostile clocks)."""

MAX_CLOCK_AHEAD_S: Final = 86_400
"""Live input dated further ahead than this takes the arrival time (design 1.6)."""

MIN_LIVE_TS_US: Final = 946_684_800_000_000
"""2000-01-01: live input dated earlier takes the arrival time (design 1.6)."""

MAX_CONFIG_BYTES: Final = 1 << 20
"""A configuration file; whatever is longer was named by mistake."""

MAX_CONFIG_ERRORS: Final = 100
"""Errors of a configuration file that are told; a file with more is none of sipcap's."""

MAX_TABLES_AHEAD: Final = 1_000
"""Tables that one ``tables create`` makes; more means that a pattern has seconds where a day was meant."""

DELETE_ROWS: Final = 5_000
"""Rows of one DELETE: a few MB, so that capture waits a fraction of a second at most."""

UPKEEP_PAUSE_S: Final = 0.12
"""Between two steps of upkeep in an SQLite file: a writer that waits for it looks every 0.1 s."""

UPKEEP_LOCK_S: Final = 60.0
"""How long a step of upkeep tries to get its table; then it is left for the next time."""

SEARCH_WINDOW_ROWS: Final = 8_192
"""Rows of one stretch that a search looks at together: 128 KB of keys of each of its tables at most."""

SEARCH_KEYS: Final = 100_000
"""Matching rows that one statement finds: 1.6 MB of keys. More of one moment, or of one user, come in turns."""

MAX_CAPTURED_BYTES: Final = 262_144
"""One packet of a pcap file: tcpdump's and Wireshark's own bound. A larger number is no length but damage."""

MAX_BLOCK_BYTES: Final = 16 << 20
"""A block of pcapng that is read: a packet and its options. Wireshark's bound; all other blocks are skipped."""

MAX_INTERFACES: Final = 4_096
"""Interfaces of one section of pcapng; a machine with all its VLANs and containers has hundreds."""

ZSTD_WINDOW_LOG: Final = 27
"""128 MB of window that a zstd file may ask for, as zstd(1) has it; files made without --long or --ultra take 8 MB."""

RECONNECT_S: Final = 60.0
"""How long a replay waits for a collector whose connection broke: a restart. Then messages are dropped and counted."""

MAX_TSHARK_LINE_BYTES: Final = 64 << 20
"""One packet as tshark writes it: all layers with their bytes, some 15 characters a byte of a large message."""

MAX_EXPORT_CONNECTIONS: Final = 65_536
"""Connections whose sequence numbers ``export`` remembers: 30 MB; one that was forgotten begins again."""

CONTROL_CONNECTIONS: Final = 64
"""Clients at one control or metrics socket at a time; a further one takes the place of who was silent longest."""

CONTROL_REQUEST_BYTES: Final = 64 << 10
"""One request to a control socket, a batch too; the longest that makes sense has some hundred bytes."""

CONTROL_BATCH_REQUESTS: Final = 20
"""Requests of one JSON-RPC batch: the answer of each may have 200 KB."""

CONTROL_JSON_DEPTH: Final = 32
"""Brackets open at a time in a JSON-RPC request; a batch with parameters has four."""

CONTROL_REQUESTS_PER_S: Final = 200
"""Requests that a control socket answers in a second; more of them wait, so that a flood takes little from capture."""

CONTROL_READS_PER_S: Final = 1_000
"""Pieces of 4 KB that a control socket reads in a second: blanks without end are no requests, but work too."""

CONTROL_IDLE_S: Final = 600.0
"""A client that asks nothing for this long is closed; those who watch ask every second."""

CONTROL_STALLED_S: Final = 10.0
"""A client that stops in the middle of a request, or does not take its answer, is closed after this."""

CONTROL_ANSWER_BYTES: Final = 16 << 20
"""What a client takes as an answer: twenty times the whole state of a large site."""

FIFO_REPLIES: Final = 16
"""Answers on their way into reply FIFOs; a further one is given up, as one whose reader does not come."""

BINRPC_VALUES: Final = 1_000
"""Values of one BINRPC request; a command line has a few."""

METRICS_REQUEST_BYTES: Final = 8 << 10
"""The head of an HTTP request for metrics; Prometheus sends some hundred bytes."""

TOP_ENTRIES: Final = 1_000
"""Sources and user agents that are counted apart, each: more than anyone looks at, half a MB at most."""

TOP_PUBLISHED: Final = 200
"""Of these, what a process tells the others, and a service the world: 150 KB at most, once a second."""

TOP_KEY_CHARS: Final = 128
"""What is kept of a user agent's name; longer ones are cut, so that hostile ones take no memory."""
MAX_SDP_LINES: Final = 1_000
"""Lines of an SDP that are looked at; WebRTC's have two hundred."""

MAX_SDP_MEDIA: Final = 64
"""Addresses, and SSRCs, taken from one SDP."""

MAX_NOTED_SDP_BYTES: Final = 16 << 20
"""Messages with an SDP that wait to be read until a capture shows RTCP: the latest ten thousand."""

MAX_MEDIA_PLACES: Final = 200_000
"""Addresses and SSRCs of media that are remembered for RTCP: ten thousands of calls at a time, 40 MB."""

MAX_CONFIG_INCLUDES: Final = 100
"""Files that a Kamailio configuration includes; they may include each other without end."""

MAX_SCRIPT_NESTING: Final = 100
"""Blocks within blocks, and brackets within brackets, of a Kamailio script; people write five."""

MAX_TRANSLATED_ROUTES: Final = 1_000
"""Routes that are made of a Kamailio script."""

SPOKEN_LINES: Final = 20
"""Bad lines of an input that are named one by one, before they are named at a bounded rate."""
