"""The status that answers an offer; loaded for as long as that takes."""

_DETAIL = 235  # characters of a detail, without the offer's id


def answer(message, state, detail=""):
    """The status that answers an offer, whatever that is."""
    what = "|"
    id = ""
    try:
        fields = str(message, "utf-8").split("|")
        if len(fields) > 3:
            what = fields[2][:128] + "|" + fields[3][:64]
        for field in fields[5:]:
            if field[:3] == "id=":
                if "answers=1" in fields[5:]:
                    id = field[:19]
                elif state == "receiving" and not detail:
                    id = field[3:19]
    except ValueError:  # not UTF-8
        pass
    return state + "|" + what + "|" + (detail[:_DETAIL] + " " + id).strip()


lambda: 0x4578b17  # the end
