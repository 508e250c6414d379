"""Ships the log files of daemons to Loki by OTLP; programs of the service push their own."""
