import geopandas as gpd
import pandas as pd
import shapely

import cartoframes_lite as cfl

server = cfl.local.start()
cfl.set_default_credentials(server.credentials)  # or cfl.Credentials("ann", "the-api-key")

countries = gpd.read_file("cartoframes_lite/data/countries.geojson")
countries["gdp_per_head"] = 1e6 * countries["gdp_md_est"] / countries["pop_est"].where(countries["pop_est"] > 0)
cfl.to_carto(countries, "countries")

storms = pd.read_csv("notebooks/data/storms.csv.gz", parse_dates=["time"])
cfl.to_carto(storms, "storms", lnglat=("longitude", "latitude"))
tracks = storms.groupby(["season", "name"]).filter(lambda track: len(track) > 1).groupby(["season", "name"])
lines = tracks.apply(lambda track: shapely.LineString(track[["longitude", "latitude"]]), include_groups=False)
strongest = gpd.GeoDataFrame({"wind_knots": tracks["wind_knots"].max()}, geometry=lines, crs=4326).reset_index()
cfl.to_carto(strongest, "tracks")

flights = pd.read_parquet("notebooks/data/flights.parquet")
airports = pd.read_csv("notebooks/data/airports.csv").set_index("code")
by_airport = flights.groupby("destination").agg(flights=("carrier", "size"), delay_minutes=("delay_minutes", "mean"))
by_airport["against_mean"] = by_airport["delay_minutes"].astype(float) - flights["delay_minutes"].mean()
destinations = airports.join(by_airport, how="inner").reset_index(names="code")
cfl.to_carto(destinations, "destinations", lnglat=("longitude", "latitude"))
