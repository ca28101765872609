"""What a board does when its application dies; loaded when it does."""

import sys
import time

import mqtt_ota_boot as boot

_PAUSE = 10  # seconds before a board without a safe mode tries again, and before a lost broker is
_LIMIT = 512  # bytes of what is told


def crashed(problem):
    """Notes what the application has died of."""
    text = _told(problem)
    print(text)
    _write("crash", text.encode()[-_LIMIT:])
    if boot.trial:
        boot.trial.mark("x")
    recover = boot.load("mqtt_ota_recover")
    if recover.slept():  # a row of crashes has no boot in it that came as far as its sleep
        _write("crashes", b".")
    if boot.trial:
        recover.note("%s: %s" % (type(problem).__name__, problem))
    if len(boot.read("crashes")) > 2 and (boot.trial or not boot.options.get("client")):
        time.sleep(_PAUSE)


def _write(name, data):
    try:
        with open(boot.state(name), "wb") as file:
            file.write(data)
    except OSError:
        pass  # a full disk does not keep a board from its reset


def _told(problem):
    try:
        import io

        text = io.StringIO()
        sys.print_exception(problem, text)
        return text.getvalue()
    except AttributeError:  # CPython
        import traceback

        return "".join(traceback.format_exception(type(problem), problem, problem.__traceback__))


def serve():
    """Runs Wi-Fi, MQTT and the client alone, until an update reboots the board; returns where it has no client."""
    options = boot.options
    if not options.get("client"):
        return
    options["safe"] = True
    boot.confirms = False
    connect = options.get("connect", int)
    hooks = boot.load("mqtt_ota_fetch").hooks()
    ota = None
    print("mqtt_ota: the application died three times, and is not run until an update comes")
    while True:
        try:
            connect()
            if not ota:
                client = options["client"]()
                name = options.get("device") or client.client_id
                import mqtt_ota

                name = name if isinstance(name, str) else str(name, "utf-8")
                ota = mqtt_ota.attach(client, name, root=boot.root, reset=boot.restart, **hooks)
            client.connect()
            ota.start()
            while True:
                client.check_msg()
                ota.feed()
                time.sleep(0.05)
        except Exception as problem:
            print("mqtt_ota:", problem)
            time.sleep(_PAUSE)


lambda: 0x4578b17  # the end
