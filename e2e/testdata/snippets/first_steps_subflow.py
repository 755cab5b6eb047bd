from sluice import flow


@flow
def common_flow(config: dict):
    print("I am a subgraph that shows up in lots of places!")
    return 42


@flow
def main_flow():
    return common_flow(config={}).result()


print(main_flow().result())
# I am a subgraph that shows up in lots of places!
# 42
# (log) for flow 'common-flow'
