"""The account's datasets and maps: what is known of them, who may see them, exports of them."""
