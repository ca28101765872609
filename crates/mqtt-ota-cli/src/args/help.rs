//! Text of `--help` and of the manual pages beyond the list of options.

pub(super) const MAIN: &str = "\
Examples:
  mqtt-ota demo
      A delivery from beginning to end. Needs no broker and no board.
  mqtt-ota send main.py --to NIGHTLAMP --broker mqtt://iot.lan
      The device verifies the file, installs it, says so and reboots.
  mqtt-ota send lib/*.py --as lib/ --to @lamps
      Several files into a folder of each device of a group; one reboot.
  mqtt-ota sync src --to NIGHTLAMP --wait-boot
      A whole folder, all or nothing; back by itself if it does not work.
  mqtt-ota devices
      Who is there?
  mqtt-ota log NIGHTLAMP
      What does it print?

Settings:
  A flag goes before an environment variable (MQTT_OTA_BROKER, MQTT_OTA_USER,
  …), which goes before the settings file. `mqtt-ota config` shows what holds,
  where it comes from and where the file is:

      broker = \"mqtts://iot.lan\"
      user = \"me\"
      password-file = \"password.txt\"
      retries = 5

      [groups]
      lamps = [\"NIGHTLAMP\", \"HALL\"]

Exit status:
  0    What was asked is done, and confirmed where the device can confirm
  1    It failed, for the reason on standard error; a file that cannot be read
       is such a reason, also where a setting names it
  2    The command line or a setting is wrong; nothing was sent
  130  Interrupted with Ctrl-C; the port is closed

Output:
  Results go to standard output; progress, logs and errors to standard error.
  Colour heeds --color, NO_COLOR and TERM=dumb.";

pub(super) const SEND: &str = "\
Every file, name and device is checked before anything is sent. The files go
to a device in the order in which they stand, and it reboots once, after the
last one. If one fails, the device gets none after it and is not rebooted. A
failed transfer leaves the device's old file as it was. A device that can resume goes
on where its link broke.

What is refused:
  Before anything is offered, the files are looked at. Python that MicroPython
  does not compile, a pointer of Git LFS or git-annex, Python in UTF-16 or with
  a byte order mark: the command names the file and the line, and nothing is
  sent. --no-check (MQTT_OTA_CHECK=no, check = \"no\") sends it as it is. Hosts
  that run `mqtt-ota receive` may get any Python. A device that takes sets gets no
  boot.py without the two lines that start its client.

Examples:
  mqtt-ota send main.py --to NIGHTLAMP
  mqtt-ota send build/lamp.py --as main.py --to NIGHTLAMP,HALL --wait-boot
  mqtt-ota send *.py --to @lamps --no-reboot
  mqtt-ota send main.py --to LAMP --listen 8266 --advertise 192.168.1.10:8266
      From a container, or through a firewall: a port that is known, and the
      address that devices see.
  mqtt-ota send main.py --to LAMP --json | jq 'select(.event == \"result\")'

Outcomes:
  installed         The device says that the file is in place
  unchanged         The device already had this very file; nothing was sent
  unconfirmed       The device took the whole file; its kind does not report
  silent            The device took the whole file and should have reported
  failed            The device says why it did not install the file
  postponed         The device wants it later than --connect-timeout waits for it
  not-subscribed    The broker says that no such device is there (MQTT 5 only)
  nobody-connected  No device came for the file
  not-fetched-at-boot  The device rebooted to fetch it, and did not come for it
  no-room           The file does not fit into the space that the device announced
  taken-by-another  Somebody else took the whole file, and the device said nothing
  interrupted       A device came and did not take the whole file
  not-back-online   With --wait-boot: installed, not heard to be back in time
  rolled-back       With --wait-boot: back with the old files, as it says

JSON:
  With --json each line is an object with `event`, `device` and `path` (the
  name on the device). The events and their other keys:
    announced   version client system address free hashes set boots
                rolled_back error safe extended answers log hardware
    noticed     file message (a warning of the check)
    listening   local advertised why
    offered     attempt offer
    receiving
    at-boot     (the device reboots, and fetches it before its application runs)
    connected   peer
    asked       peer path files offset (a device that can resume says where)
    progress    peer sent total (at most ten a second)
    dropped     peer sent cause
    turned-away count last cause (connections of others than the device)
    waiting-for-device  limit (it was on the broker and is not now)
    delivered   peer (of a plain offer; a device that resumes says when it is
                done)
    retrying    attempt of after because
    postponed   after why (the device wants it later, and is waited for)
    too-little-memory  text (for an offer that resumes; a plain one follows)
    installed, waiting-for-boot
    crashed     text (with --wait-boot: what the device's application died of)
    result      outcome ok confirmed message hint reason bytes sent hash
                attempts seconds peer advertised why back_online_after; after,
                where it is postponed; at_boot, where that is so
    skipped     because
  At the end comes one `summary`: ok devices devices_ok installed unchanged
  unconfirmed planned taken_back failed skipped error. Where nothing could be sent it is the only
  line, and `error` says why. After Ctrl-C, or with a command line that is not
  understood, there is none. `outcome` is one of the above, or `error` for what
  went wrong on this side. Times are in seconds. New keys and new events may be
  added.

Exit status:
  0    Every file is installed, unchanged, or delivered to a device that cannot
       confirm (with --require-confirmation that last one is 1)
  1    Something failed, and the summary says what is where; or nothing was
       sent, as a file could not be read or the broker not be reached
  2    The command line or a setting is wrong; nothing was sent
  130  Interrupted with Ctrl-C; the ports are closed. A device that has taken a
       whole file installs it";

pub(super) const SYNC: &str = "\
Makes the files in DIR, and in the folders in it, those of the device. The
device says what it does not have yet, and only that travels. All files come
into place at once, or none: if the power or the link fails, the device runs
what it ran, or all of the new. A link that breaks, however often, costs only
what is not on flash yet.

Then the set is on trial. If the application does not get back to the broker
within three boots (--trial), as it crashes, hangs or has lost the Wi-Fi's
password, the device takes all files back, with nobody near it.
`mqtt-ota devices` shows that, and --wait-boot waits for it.

The device needs the client that knows sets, and two lines in its boot.py. It
keeps the files that the set replaces: there has to be room for both.

What is sent:
  A file .mqttotaignore, in DIR or in a folder in it, names what is not sent, as
  .gitignore does for git. Files and folders whose name begins with a dot are
  not sent, nor what tools leave beside the files (__pycache__, venv, main.py~,
  Thumbs.db and the like), unless it says `!name`. --dry-run -v shows what is
  left out. What is refused is what `mqtt-ota send` refuses. A link is sent as the file that it points
  to; a link to a folder is an error. At most 1000 files.

What is deleted:
  Nothing, by itself. With --delete, what the last sync put there and DIR has
  no longer; with --delete-all, every file that is not in DIR, but boot.py and
  the client (mqtt_ota*). --dry-run shows it first.

Examples:
  mqtt-ota sync src --to NIGHTLAMP
  mqtt-ota sync src --to NIGHTLAMP --delete --dry-run
  mqtt-ota sync src --to @lamps --wait-boot --boot-timeout 5m
  mqtt-ota sync src --to NIGHTLAMP --json | jq 'select(.event == \"result\")'

Outcomes, as of `mqtt-ota send`, and:
  planned           With --dry-run: the device has said what it would do
  rolled-back       With --wait-boot: back with the old files; the error is
                    the device's
  on-trial          With --wait-boot: back with the new files, which are not
                    confirmed yet
  no-sets           The device has not announced that it takes sets: use send

JSON:
  The events of `mqtt-ota send --json`, with the path `set`. A `result` also
  has files (in the set), fetched (how many the device asked for), bytes (of
  all files), sent (that travelled), hash (which names the set), and plan with
  --dry-run: send and keep (path, bytes), delete (paths).

Patience:
  A device that works on a set, hashing and copying files, may say nothing for
  as long as --connect-timeout and --confirm-timeout together; the latter is
  2 minutes here where it is not set.

Exit status:
  0    Every device has the files, or had them; with --dry-run, has answered
  1    Something failed, or a device took the files back while we waited
  2    The command line or a setting is wrong; nothing was sent
  130  Interrupted with Ctrl-C. A device that has taken all files installs them";

pub(super) const ROLLBACK: &str = "\
Takes back the set that the device got last: it puts the files back that the
set replaced, removes those that were new, reboots, and announces that it did.
It keeps these files until the next set comes, or a single file.

Examples:
  mqtt-ota rollback --to NIGHTLAMP
  mqtt-ota rollback --to @lamps --boot-timeout 5m

Outcomes:
  taken-back        The device says that it is back at the files before
  failed            It says why not: `gone` means that they are no longer kept
  postponed         It wants that later than --connect-timeout waits for it
  no-set            It has announced no set
  no-sets           It has not announced that it takes sets
  not-subscribed    The broker says that no such device is there (MQTT 5 only)
  not-taken-back    It was not heard in time to have done it

JSON:
  The events of `mqtt-ota send --json`, with the path `set`. `hash` names the set
  that is taken back; it is null where there is none, and `bytes` always is.

Exit status:
  0    Every device has taken its set back
  1    One has not, for the reason on standard error
  2    The command line or a setting is wrong; nothing was sent
  130  Interrupted with Ctrl-C. A device that was told to does it all the same";

pub(super) const DEVICES: &str = "\
Lists the devices whose announcement the broker keeps, and asks them whether they
are there. A device that announces nothing is not listed, and can be sent to all
the same. A device that is named is looked for by name, as some brokers
(RabbitMQ) demand; so are all that are in a group of the settings.

REACHABLE is one of:
  yes        The device has just answered
  no         The broker says that it is not connected; it may be asleep
  no answer  It has not answered in time (--timeout); it may be asleep or busy
  not known  Its client is too old to answer, or this user may not ask it
  not asked  With --no-ask: for devices that sleep, or to be quick

LAST HEARD is known of devices that a keeper (`mqtt-ota keep`) waits for.

SET is the beginning of the hash that names the set of files that is installed;
`-` is none, and nothing at all a device that takes single files only. STATE
says whether it is on trial, and which set was taken back last, and why. A
device in safe mode runs its client alone, as its application failed three
times in a row, until it gets an update. The last crash is an exception that the
application did not catch; `mqtt-ota log -n` shows all of it.

A device answers once in 5 s, which is why the default of --timeout is more. The
command ends as soon as all have answered.

--forget clears what the broker keeps of a device that is gone for good: its
announcement, and what a keeper remembers. A device that answers is not
forgotten. One that cannot be asked is; if it is there after all, it announces
itself when it next connects.

Examples:
  mqtt-ota devices --broker mqtt://iot.lan
  mqtt-ota devices NIGHTLAMP @plugs
  mqtt-ota devices --forget OLDLAMP
  mqtt-ota devices --json | jq -r 'select(.reachable == false) | .device'

JSON:
  An object a device: device reachable (true; false for no and no answer; null)
  last_heard (seconds since 1970) crash (the text) and, where it has announced itself, version
  client system address free (bytes) hashes set boots (while on trial)
  rolled_back error safe (in safe mode) extended (it takes extended offers)
  answers (it names the offer that it answers) log (it can publish its log)
  hardware (the address of its Wi-Fi). What is not known is null. With --forget: device forgotten
  announcement memory crash (what was cleared) error.

Exit status:
  0    The list is whole, even if it is empty; with --forget, nothing is kept of
       the devices any more
  1    The broker could not be asked; it knows nothing of a device that was
       named; or, with --forget, a device has answered
  2    The command line or a setting is wrong
  130  Interrupted with Ctrl-C";

pub(super) const LOG: &str = "\
Shows what the applications of devices print and log, each line as it comes, with
the time at which it came, until Ctrl-C. What the broker has kept of the last
crash, an exception that the application did not catch, comes first; with -n that
is all.

A device publishes its log only as long as somebody wants it: this command asks it
each 20 s, for a minute each time, and at the end says that it is enough. It asks
devices only whose client says that it can do that (mqtt_ota_log on a board).
Others may publish lines all the same, and they are shown.

A line `... 12 lines lost` is the device's own: it had no room for them. Lines that
come while this machine is not connected to the broker are lost as well.

If nothing comes though the device runs: what it prints before it is connected is
not published; and the broker's access list has to let the device write
NAME/OTA/log and NAME/OTA/crash, and this user read both and write NAME/OTA.

Examples:
  mqtt-ota log NIGHTLAMP --broker mqtt://iot.lan
  mqtt-ota log @lamps | grep -i error
  mqtt-ota log -n NIGHTLAMP
      Why did it crash?
  mqtt-ota log NIGHTLAMP --json | jq -r 'select(.event == \"line\") | .text'

JSON:
  With --json each line is an object with the key `event`:
    line          device time text lost (how many lines it says are missing)
    crash         device time text kept (by the broker; then `time` is null)
    asked         device
    away          device (it is not on the broker, and is asked when it is back)
    not-asked     device announced (whether it has announced itself)
    refused       device error (the broker does not allow to ask it)
    missed        count (lines that came faster than they were read)
    disconnected, reconnected (from and to the broker)
  `time` is in seconds since 1970. With -n: an object a device: device crash (null
  where the broker has kept none). New keys and new events may be added.

Exit status:
  0    Stopped by a service manager (SIGTERM); with -n, what there is was shown
  1    The broker could not be asked, or the connection was lost for good; with
       -n, a device has never announced itself
  2    The command line or a setting is wrong
  130  Stopped with Ctrl-C";

pub(super) const RECEIVE: &str = "\
Makes this machine a device: it announces itself, takes what it is offered,
verifies it and puts it in place below DIR with one atomic rename. Nothing
outside DIR is written: a link below DIR is followed if it leads to what is
below DIR too, and refused otherwise. A file that is replaced keeps its owner
and its mode; a new one is its folder's owner's, as long as this runs as root,
and has the mode 0644. Modes do not travel: what --exec runs may set them, as
in --exec 'chmod +x run.sh && ./run.sh'. It runs until it is stopped, and comes back by itself
to a broker that it has lost. A broker that it cannot reach at the start ends
it with status 1: let what starts it try again (systemd: Type=notify and
Restart=on-failure).

A sender that is silent for 20 s is given up, and so is one that brings less than
1 KiB/s, averaged over a minute (--min-rate).

Examples:
  mqtt-ota receive --as GATEWAY --root /srv/gw --exec 'systemctl restart gw'
  mqtt-ota receive --as TEST --root /tmp/test --broker mqtt://localhost -v

JSON:
  With --json each line is an object with the key `event`:
    online      address system
    receiving   path offer
    progress    received (bytes, at most ten a second)
    installed   path hash bytes
    unchanged   path
    failed      path (null where the offer cannot be read) reason text
    reboot
    ran         ok status (what --exec ran has ended)

Exit status:
  0    Stopped by a service manager (SIGTERM)
  1    It could not start, for want of a broker for instance, or not go on
  2    The command line or a setting is wrong
  130  Stopped with Ctrl-C";

pub(super) const KEEP: &str = "\
Keeps devices in step with a folder, until it is stopped. In DIR each folder is
a device, and what is in it is what the device gets: now if it is awake, the
moment it announces itself if it sleeps. Files that go from the folder go from
the device, if its client knows sets. A file that `mqtt-ota send` gives a kept
device is replaced by the folder's. Nothing is kept but in DIR and at the broker: a keeper that is
killed goes on where it was. DIR may be a link: where it leads next is followed.
The files are those that `mqtt-ota sync` sends, and are looked at as it does:
what it refuses is held back, and `mqtt-ota status` says why.

  DIR/NIGHTLAMP/main.py
  DIR/NIGHTLAMP/device.toml   how it is kept; not sent
  DIR/common/wifi.py          for all that include it

device.toml, all of it optional:
  include = [\"../common\"]    their files too; the device's own win
  aliases = [\"HALL\"]         further devices that get these files
  groups = [\"lamps\"]         for --canary @lamps
  hold = true                nothing is sent
  check = false              the files are not looked at before they are sent
  delete = \"set\"             what goes with the folder's files: \"nothing\",
                             \"set\" (what an earlier set has brought) or \"all\"
  trial = 3                  boots that a set has before it is taken back

A folder that others include is no device, unless it has a device.toml too. One
that is wrong or gone takes nothing back: what it has included stays no device's
until it is mended, and nothing is sent from a folder that it may mean.

What is in a folder counts when it is at rest, and holds no other folder up. A
file that somebody has open is waited for however long that takes, and so is
git: its lock, a merge, rebase, cherry-pick, revert or bisect that is under way,
unmerged paths, and submodules that are not initialised hold back what is in the
checkout. Until then devices get what counted before. An include folder in which
there is no file is held back too. `mqtt-ota status` says why.

A device that asks to be offered its files later (postponed) is offered them
then. A device that fails is tried again after 10 s, 20 s and so on up to 10 minutes,
and left alone in the end until its folder changes. What goes wrong on this side
(a port that is taken, a file that cannot be read) is tried again in the same
way, and never counts against the device. A set that a device has taken back is
never sent to it again; only one that it has taken back as it had no network
(no-network) is sent once more. A device that takes single files only gets one after the
other, main.py last, and reboots after that.

Of keepers with one --name, each with its copy of DIR, one is at work, and the
others take over when it is gone. A device that a keeper of another --name has
is left to that one: stop it, or take the device out of one of the two folders.

The time zone of --window is that of TZ, or the system's; it is said at the start,
and one that is not known is an error.

Examples:
  mqtt-ota keep devices --broker mqtt://iot.lan
  mqtt-ota keep devices --canary NIGHTLAMP --stop-after 3
  mqtt-ota keep devices --window 02:00-05:00 --parallel 4 -q

As a service: mqtt-ota-keep.service, in docs/systemd of the sources (Type=notify).

Exit status:
  0    Stopped by a service manager (SIGTERM)
  1    It could not start: no such folder, no broker, or no rights there
  2    The command line or a setting is wrong
  130  Stopped with Ctrl-C. What is under way goes on at the next start";

pub(super) const STATUS: &str = "\
Compares a folder with what its devices have announced, and shows what a keeper
has noted of them. No keeper need run.

STATE is one of:
  in step        The device has what is in its folder
  pending        It is to get it, or has it on trial; a keeper that runs is at it
  asleep         It gets it when it announces itself
  postponed      It has asked to be offered it later, and is
  failing        It has failed, and is tried again
  left alone     It has failed for good, until its folder changes
  rolled back    It has taken the files back, until its folder changes
  held           Its device.toml says so
  waiting        Somebody is writing what is in its folder, or git waits for
                 somebody: a merge is under way, a file is unmerged
  unusable       Nothing can be sent from its folder
  kept elsewhere A keeper of another name has it, and is at work
  unknown        It has never announced itself

Examples:
  mqtt-ota status devices --broker mqtt://iot.lan
  mqtt-ota status devices --json | jq -r 'select(.state != \"in-step\") | .device'

JSON:
  An object a device: device state why since (seconds since 1970) keeper wanted
  (the hash of its folder) crash (the last one's text) and, where it has announced itself, version client system
  address free hashes set boots rolled_back error safe extended answers log
  hardware.

Exit status:
  0    Every device is in step, held or unknown, and none is in safe mode
  1    One is not, or could not be asked about
  2    The command line or a setting is wrong
  130  Interrupted with Ctrl-C";

#[cfg(feature = "broker")]
pub(super) const BROKER: &str = "\
Runs the broker that is built in until it is stopped: MQTT 5 and 3.1.1, in memory,
for trying things out and for a home network that is trusted. Whoever reaches
it can send files to your devices, so give it a user and a password: it asks
for those that the settings have. For more devices, TLS or access lists, use a
broker such as Mosquitto.

With --announcements, what devices said of themselves (`mqtt-ota devices`) is
there after a restart. FILE is replaced whole, at most once a second; what is
damaged in it is skipped, and a copy stays in FILE.damaged.

With --keep it also does what `mqtt-ota keep` does, and remembers what devices
have announced in DIR/.announcements, or where --announcements says.

Examples:
  mqtt-ota broker
  mqtt-ota broker --keep devices
  mqtt-ota broker --announcements /var/lib/mqtt-ota/announcements
  mqtt-ota broker --listen 192.168.1.10:1883 --user me --password-file pw.txt

As a service: mqtt-ota-broker.service, in docs/systemd of the sources (Type=notify).

Exit status:
  0    Stopped by a service manager (SIGTERM)
  1    It could not start: the port is taken, for instance
  2    The command line or a setting is wrong
  130  Stopped with Ctrl-C";

#[cfg(feature = "broker")]
pub(super) const DEMO: &str = "\
Everything runs on this machine, on loopback, with free ports and a temporary
folder that is removed at the end. The file, the messages and the transfer are
real, and what is on the device's disk is compared with what was sent.

Examples:
  mqtt-ota demo
  mqtt-ota demo src/main.py
  mqtt-ota demo --micropython ~/src/micropython/ports/unix/build/micropython

Exit status:
  0    The file arrived as it was sent
  1    It did not
  2    The command line is wrong
  130  Interrupted with Ctrl-C";

pub(super) const CONFIG: &str = "\
Takes the same options as `mqtt-ota send` and shows what they, the environment
and the settings file come to together. The password is never shown.

Examples:
  mqtt-ota config
  mqtt-ota config --json | jq 'select(.name == \"broker\")'
  MQTT_OTA_BROKER=iot.lan mqtt-ota config --retries 5

JSON:
  An object a setting: name, value, source (flag, environment, file or
  default), from (the flag, the variable or the key) and file (where it comes
  from one). Groups have the name `@NAME`.

Exit status:
  0    The settings are in order
  1    The settings file cannot be read
  2    The command line or a setting is wrong";

pub(super) const COMPLETIONS: &str = "\
Examples:
  mqtt-ota completions bash > \\
      ~/.local/share/bash-completion/completions/mqtt-ota
  mqtt-ota completions zsh > ~/.zfunc/_mqtt-ota
  mqtt-ota completions fish > ~/.config/fish/completions/mqtt-ota.fish
  mqtt-ota completions powershell >> $PROFILE";

pub(super) const MAN: &str = "\
Examples:
  mqtt-ota man | man -l -
  mqtt-ota man send | man -l -
  mqtt-ota man --dir ~/.local/share/man/man1";
