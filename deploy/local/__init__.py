"""Apache Kafka and ClickHouse's engine as child processes of this one, for development, demos and tests.

Both speak the production protocols on the loopback interface, keep their data in a folder that the caller
names, and die with the process that started them.

Examples
--------
>>> from pathlib import Path
>>> from deploy.local.kafka import LocalKafka
>>> with LocalKafka(Path(".halcyon/kafka")) as kafka:  # doctest: +SKIP
...     print(kafka.bootstrap)
"""
