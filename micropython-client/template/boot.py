# Runs first: finishes or takes back an update, so that the board stays one that takes the next. Nothing to change here.
try:
    import mqtt_ota_boot

    def connect():
        import wifi  # not above: where a new wifi.py or settings.py has a mistake, boot() has to take it back

        wifi.connect()

    mqtt_ota_boot.boot(connect=connect)
except Exception as problem:  # which would keep main.py from running
    print(problem)
