"""The stream application: transport, the four stages, sinks, settings, metrics and the command line."""
