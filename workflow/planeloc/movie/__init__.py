"""The movie: conversion, Zarr store, quality, background, noise check."""
