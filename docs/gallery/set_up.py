"""Load the tables of the gallery."""

from importlib.resources import files

import geopandas as gpd
import pandas as pd

import cartoframes_lite as cfl

server = cfl.local.start()
cfl.set_default_credentials(server.credentials)  # or cfl.Credentials("ann", "the-api-key")

data = files("cartoframes_lite") / "data"
countries = gpd.read_file(data / "countries.geojson")
countries = countries[countries["pop_est"] > 0]
countries["gdp_per_head"] = 1e6 * countries["gdp_md_est"] / countries["pop_est"]
cfl.to_carto(countries, "countries")

storms = pd.read_csv(data / "storms.csv.gz", parse_dates=["time"])
cfl.to_carto(storms, "storms", lnglat=("longitude", "latitude"))
tracks = """
    SELECT season, name, max(wind_knots) AS wind_knots,
           ST_MakeLine(the_geom ORDER BY time) AS the_geom
      FROM storms GROUP BY season, name
"""
cfl.create_table_from_query(tracks, "tracks")

flights = pd.read_parquet("notebooks/data/flights.parquet")
airports = pd.read_csv("notebooks/data/airports.csv").set_index("code")
departed = flights.dropna(subset="delay_minutes").astype({"delay_minutes": float})
delays = departed.groupby("destination")["delay_minutes"]
by_airport = delays.agg(flights="size", delay_minutes="mean")
by_airport["against_mean"] = by_airport["delay_minutes"] - departed["delay_minutes"].mean()
destinations = airports.join(by_airport, how="inner").reset_index(names="code")
cfl.to_carto(destinations, "destinations", lnglat=("longitude", "latitude"))
