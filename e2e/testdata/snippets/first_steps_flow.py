from sluice import flow


@flow
def my_favorite_function():
    print("This function doesn't do much")
    return 42


state = my_favorite_function()
print(state)
print(state.result())
# This function doesn't do much
# Completed(None)
# 42
