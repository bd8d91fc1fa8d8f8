from .engine import Engine as Engine
from .processes import Processes as Processes
from .ray_tasks import RayTasks as RayTasks
