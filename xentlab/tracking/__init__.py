"""The journal's way to MLflow: in the background, in batches, idempotent. The only package that imports mlflow.

The training never imports mlflow. A process of its own tails the journal and feeds the store, so that a slow, dead or
absent store neither slows nor stops a training, and a killed training is still recorded to its last epoch.

- `settings`: where the runs go, and the environment in which mlflow is imported
- `keys`: which runs there are, and how they are nested
- `content`: what a record looks like in MLflow: names, params, tags, points
- `backend`: what is asked of a store; `client` asks any store through MLflow's client, `sqlite` writes a local
  store many runs at a time, without importing mlflow
- `store`: the store, made where there is none
- `files`: locks, and artifacts that lie in a local folder
- `sent`: what is known of the runs there, and which lie in the trash
- `sender`: finds or makes runs and sends them what they lack
- `following`: one pass (`sync`), and the loop that follows a session (`follow`)
- `tracker`: the training's side
- `registry`: a trained model, logged and registered by one command
- `views`: ready dashboards for MLflow's own page; `addresses` into it
- `server`: the UI, and what `xentlab doctor` asks

The contract: whatever is sent is derived from the journal alone and may be sent again at any time without a change.
To send one more fact about a trial, write it to the journal and derive it in `content`.
"""

from xentlab.tracking.addresses import RunLink, RunLinks, links
from xentlab.tracking.backend import Unreachable
from xentlab.tracking.following import follow, serve_follower, sync
from xentlab.tracking.sender import SendReport
from xentlab.tracking.server import base, serve, status, stop
from xentlab.tracking.settings import Destination, default_uri, resolve_destination
from xentlab.tracking.sqlite import database_damage
from xentlab.tracking.tracker import Tracker
