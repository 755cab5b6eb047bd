from sluice.deployments import DeploymentSpec
from sluice.schedules import CronSchedule

DeploymentSpec(name="nightly", flow_location="./shop.py", flow_name="daily-sales", tags=["shop", "prod"], parameters={"day": "2026-03-01"}, schedule=CronSchedule(cron="30 2 * * *", timezone="Europe/Paris"))
DeploymentSpec(name="by-hand", flow_location="./shop.py", flow_name="audit-stock", tags=["shop"])
