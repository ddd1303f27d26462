"""What requests cost by a price list.

`prices` is a table of prices, `price_lists` finds it, `pricebook` holds the one
in force, `cost` prices a request. `db` keeps revisions of costs, which
`recompute` makes; `report` sums usage up, `export` and `parquet` write it out.
"""
