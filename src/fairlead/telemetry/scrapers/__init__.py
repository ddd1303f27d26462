"""What engines and GPUs tell about themselves, read from their own metrics.

* `page`: lines of Prometheus text or OpenMetrics as samples, whatever else is in them;
* `engine`: what an engine says at one moment, and the means between two;
  `dialects`: each engine's names for it;
* `gpu`: what a GPU says; `dcgm`: from DCGM exporter and Triton; `nvml`: from this host's driver;
* `fetch`: one page over HTTP, bounded in time and size;
* `board`: the last readings, by target and by GPU; `watch`: what keeps it current.

Everything read is somebody else's text: what is not as expected is skipped and
counted, and nothing here can fail a request.
"""
