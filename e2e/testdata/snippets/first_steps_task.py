from sluice import flow, task


class requests:  # stands for the package
    @staticmethod
    def get(url):
        if not url.startswith("http"):
            raise ValueError(f"Invalid URL {url!r}")
        return requests()

    def json(self):
        return {"fact": "Cats sleep", "length": 10}


@task
def call_api(url):
    return requests.get(url).json()


@task
def parse_fact(response):
    print(response["fact"])


@flow
def api_flow(url):
    parse_fact(call_api(url))


print(api_flow("http://example.org/fact"))
print(api_flow("foo"))
# Cats sleep
# Completed('All states completed.')
# Failed('1/2 states failed.')
# (log) Created task run 'call_api-190c7484-0' for task 'call_api'
# (log) Created task run 'parse_fact-b0346046-0' for task 'parse_fact'
