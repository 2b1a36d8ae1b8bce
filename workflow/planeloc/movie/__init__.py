"""The movie as stored: conversion, zarr store, background, noise check."""
